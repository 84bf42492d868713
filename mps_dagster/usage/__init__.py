"""What task runs have used, and what one would cost: rows of a run, tables over days, prices, estimates.

Pure, except `files.py`, which keeps the table of each day. `runs.py` and `rows.py` know no pandas, whose import takes 0.4 s.
"""
