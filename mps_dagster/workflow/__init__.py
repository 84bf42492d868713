"""What an admin configures: `Workflow`, its trigger and tasks, the templates and presets they name, the YAML store.

Pure but for reading YAML files. Knows what a task can be (tasks), not how one is run or stored.
"""
