"""Runs claims, stores their runs, computes verdicts and reports.

Nothing here depends on a particular claim. Training code is in ``_data``, ``_networks``
and the claims, which import from here. A change there invalidates stored runs, as does
one in ``runs``, which trains several networks at once.
"""
