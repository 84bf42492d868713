"""Doing one task: break a source down into subtasks, and for each stage in, claim, run, verify, publish; then assemble.

All effects on buckets and scratch disks are here. Knows no Dagster: the orchestration room calls these functions.
"""
