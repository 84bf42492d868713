"""A soak: uploads without a break into a whole deployment, while processes, disk, bucket and database are taken away.

    python bench/soak.py [--kills 200] [--seed N] [--postgresql] [--keep FOLDER]

Prints each fault, then tables and a verdict; exit code 1 if a promise was broken. 200 kills take half an hour. Linux only.
As root, a small tmpfs is mounted as the scratch disk, to be filled up. A short form is tests/cli/test_soak.py.
"""

from __future__ import annotations

import argparse
import logging
import random
import signal
import sys
from functools import partial
from pathlib import Path

# In place of this folder: the soak is built of what tests start deployments with.
sys.path[0] = str(Path(__file__).resolve().parent.parent / "tests")

from soak.soak import Plan, soak  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--postgresql", action="store_true", help="records in PostgreSQL, which is restarted, too")
    parser.add_argument("--ahead", type=int, default=6, help="uploads that are not done yet, at most")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="an empty folder, which is kept")
    options = parser.parse_args()
    # So that everything is stopped, and the scratch disk unmounted.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))
    plan = Plan(
        options.kills, options.seed, postgresql=options.postgresql, ahead=options.ahead,
        folder=options.keep and options.keep.resolve(),
    )  # fmt: skip
    # Dagster's retries while the database is away.
    logging.getLogger().setLevel(logging.ERROR)
    violations = soak(plan, partial(print, flush=True))
    print(f"\n{len(violations)} violations")
    for violation in violations:
        print(f"  {violation}")
    raise SystemExit(1 if violations else 0)


if __name__ == "__main__":
    main()
