"""Performs a task: break it down into subtasks; for each stage in, claim, run, verify, publish; then assemble.

All effects on buckets and scratch disks are here. Knows no Dagster: the orchestration room calls these functions.
"""
