"""Launching task runs and asking what became of them: which objects are uploads, Dagster's GraphQL, the state of a run, health.

What CLI, API and backfills share. Never imports Dagster: that alone costs 0.7 s. Decides nothing about media.
"""
