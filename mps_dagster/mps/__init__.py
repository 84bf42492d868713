"""A task run in the words of MPS's API: its result tree, its callback, places, times and names on the wire.

Pure. What a task type is called there is declared by the task itself; what is sent or answered is up to orchestration and api.
"""
