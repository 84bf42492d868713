"""Launching task runs and asking what became of them: Dagster's GraphQL, the state of a run, tags and op paths, health.

What CLI, API and backfills share. Never imports Dagster: that alone costs 0.7 s. Decides nothing about media.
"""
