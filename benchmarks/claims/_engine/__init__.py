"""Runs claims, stores their runs, computes verdicts and reports.

Nothing here depends on a particular claim. Training code is in ``_data``, ``_networks``
and the claims, which import from here:

    runner       trains a claim, and writes its measures, verdicts and figures
    report       all claims on one page
    pictures     the figure of the gains
    analysis     from measures to intervals and verdicts
    runs         stored runs
    claim        what a claim consists of
    statistics   estimates, intervals and verdicts
"""
