"""Run the workflow `vod` once on in/clip.mp4, in processes of its own; with the id of a run, what failed in that one again."""

from __future__ import annotations

import sys

import dagster as dg

from mps_dagster.definitions import defs
from mps_dagster.workflow.naming import uploads_name

KEY = "in/clip.mp4"


def job() -> dg.JobDefinition:
    return defs.resolve_job_def("vod")


def main(*parent: str) -> None:
    with dg.DagsterInstance.get() as instance:
        instance.add_dynamic_partitions(uploads_name("vod"), [KEY])
        again = {"reexecution_options": dg.ReexecutionOptions.from_failure(parent[0], instance)} if parent else {}
        result = dg.execute_job(
            dg.reconstructable(job), instance=instance, tags={"dagster/partition": KEY}, raise_on_error=False, **again
        )
    sys.stdout.write("success\n" if result.success else "failure\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
