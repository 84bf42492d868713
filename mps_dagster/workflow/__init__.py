"""What an admin configures: `Workflow` with its trigger and tasks, templates and presets, a snapshot of their YAML files.

Pure except for reading and writing those files. Knows the task types, not how a task is run or stored.
"""
