"""The claims made for Mixup: one file each, and one command to run them.

Modules import from those below them in this list only; a test checks it:

    __main__     the command
    NAME         one claim, imported by no other: what it trains, measures and plots
    _networks    networks shared by several claims, and their training
    _data        data sets shared by several claims
    _engine      runs claims, stores their runs, computes verdicts and reports
"""
