"""Run a workflow once on the file in the inbox; print its figures as one JSON line. Used by workflow.py and ladder.py."""

from __future__ import annotations

import json
import resource
import sys
import time

import dagster as dg

from mps_dagster.control.task_run import task_run
from mps_dagster.definitions import defs
from mps_dagster.orchestration.runs import run_record
from mps_dagster.workflow.naming import uploads_name

WORKFLOW = sys.argv[1] if len(sys.argv) > 1 else "demo"


def job() -> dg.JobDefinition:
    return defs.resolve_job_def(WORKFLOW)


def main() -> None:
    with dg.DagsterInstance.get() as instance:
        instance.add_dynamic_partitions(uploads_name(WORKFLOW), ["source.mp4"])
        started = time.time()
        result = dg.execute_job(
            dg.reconstructable(job), instance=instance, tags={"dagster/partition": "source.mp4"}, raise_on_error=False
        )
        wall_s = time.time() - started
        run = instance.get_run_by_id(result.run_id)
        assert run is not None
        record = run_record(instance, run, None)
    if not result.success:
        raise SystemExit(f"the run failed: {[(s.label, s.message) for s in task_run(record).subtasks]}")
    results = [subtask.result for subtask in task_run(record).subtasks if subtask.result]
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    figures = {
        "wall_s": wall_s,
        "cpu_s": own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime,
        "ffmpeg_cpu_s": sum(result.whole_cpu_s for result in results),
        "ffmpeg_wall_s": sum(result.wall_s for result in results),
        "steps": len(record.steps),
        "subtasks": len(results),
        "start_s": min(step.started_s for step in record.steps if step.started_s) - started,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
