"""All of Dagster: assets and graphs, ops, jobs, sensors, partitions, resources, launcher.

Thin: each op validates, calls the execution room and reports what came. Nothing else imports `dagster`.
"""
