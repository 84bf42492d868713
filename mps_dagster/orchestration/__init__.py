"""All of Dagster: assets and graphs, ops, jobs, sensors, partitions, resources, launcher.

Thin: an op calls `execution`, a sensor calls `control`, and both report the result. No other package imports `dagster`,
and only `internals.py` imports Dagster's private modules.
"""
