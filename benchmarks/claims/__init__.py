"""The claims made for Mixup: one file each, and one command to run them.

Imports point down this list, never up; a test holds them to it:

    __main__     the command
    NAME         one claim, named by no other: what it trains, counts and draws
    _networks    the networks of several claims, and how they learn
    _data        what several claims learn from
    _engine      what runs a claim, keeps its runs, judges and reports
"""
