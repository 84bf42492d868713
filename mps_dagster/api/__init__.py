"""MPS's HTTP API: signature, keys, limits, and the actions, each of which parses, calls control and answers.

Also serves files of outputs. Never imports Dagster: that alone costs 0.7 s.
"""
