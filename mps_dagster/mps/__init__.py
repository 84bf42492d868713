"""A task run in the terms of MPS's API: its result tree, its callback, places, times and names on the wire.

Pure. A task type declares its own MPS names; orchestration and api send and answer.
"""
