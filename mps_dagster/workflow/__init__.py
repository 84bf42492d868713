"""What an admin configures: `Workflow`, its trigger and tasks, templates and presets, the snapshot of their YAML files.

Pure but for reading and writing those. Knows what a task can be (tasks), not how one is run or stored.
"""
