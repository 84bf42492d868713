"""What CLI and HTTP offer: launching and asking about task runs over Dagster's GraphQL, and serving files of outputs.

Decides nothing about media and never imports Dagster: that alone costs 0.7 s.
"""
