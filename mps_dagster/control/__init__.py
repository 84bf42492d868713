"""Launches and queries task runs: finding uploads, Dagster's GraphQL, the state of a run, backfill plans, health.

Shared by CLI, API and orchestration. Never imports Dagster, which takes 0.7 s. Decides nothing about media.
"""
