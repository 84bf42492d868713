"""All of Dagster: assets and graphs, ops, jobs, sensors, partitions, resources, launcher.

Thin: an op calls `execution`, a sensor `control`, and reports what came. Nothing else imports `dagster`, and here only
`internals.py` imports what Dagster keeps private.
"""
