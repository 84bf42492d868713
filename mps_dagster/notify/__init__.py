"""What is sent when a task run ends: `Event`, the durable outbox, the sinks, the embedded local queue.

Decides nothing about a run; delivers at least once. May import workflow, settings and errors; knows no Dagster.
"""
