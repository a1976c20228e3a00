"""What runs a claim, keeps its runs, judges and reports; it knows no claim.

What trains is in `_data`, `_networks` and the claims, which import from here. A change
in those makes the runs that are kept count no more, and so does one in `runs`, which
trains several at once.
"""
