"""The soak: uploads without a break into a whole deployment, while processes, disk, bucket and database are taken away at random.

`bench/soak.py` runs it for long, `tests/cli/test_soak.py` for a short time. Linux only: finds processes in /proc.
"""
