"""MPS's HTTP API: signature, keys, limits, and the actions, which parse requests, call control and answer.

Also serves output files. Never imports Dagster, which takes 0.7 s.
"""
