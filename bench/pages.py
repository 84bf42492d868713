"""What a page costs: CPU seconds of the process that writes it, for a run of 15 outputs, in a local bucket.

The index has as many sources as it keeps, each with a poster, so this is the most that a run costs.

    python bench/pages.py [--runs 50]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from mps_dagster.control.task_run import SubtaskState, TaskRun
from mps_dagster.pages.page import page_of
from mps_dagster.pages.site import KEEP_ENTRIES, PAGES, Index, entry_of, publish_page
from mps_dagster.storage.local import LocalBucket
from mps_dagster.tasks.result import OutputObject, SubtaskResult

OUTPUTS, FILES = 15, 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=50)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        bucket = LocalBucket("outputs", Path(folder), settle_s=0)
        entry = entry_of(page_of(task_run(0), "host"))
        full = Index(entries=tuple(entry.model_copy(update={"digest": f"{n:040}"}) for n in range(KEEP_ENTRIES)))
        bucket.write(f"{PAGES}index.json", full.model_dump_json().encode())
        publish_page(page_of(task_run(0), "host"), bucket)
        costs = [cost(bucket, number) for number in range(1, runs + 1)]
        index_bytes = bucket.head(f"{PAGES}index.json").size
    figures = {"runs": runs, "cpu_ms_median": round(1000 * statistics.median(costs), 1), "index_bytes": index_bytes}
    print(json.dumps(figures))


def cost(bucket: LocalBucket, number: int) -> float:
    run, began = task_run(number), time.process_time()
    publish_page(page_of(run, "host"), bucket)
    return time.process_time() - began


def task_run(number: int) -> TaskRun:
    subtasks = tuple(subtask(number, output) for output in range(OUTPUTS))
    return TaskRun(
        task_id=f"mps-WorkflowTask-{number:032x}", run_id=f"{number:032x}", workflow="vod", state="FINISH", outcome="SUCCESS",
        code="", number=0, message="", created_s=float(number), started_s=1.0, ended_s=number + 10.0, bucket="inbox",
        key=f"in/{number}.mp4", priority=0, source=None, subtasks=subtasks,
    )  # fmt: skip


def subtask(number: int, output: int) -> SubtaskState:
    objects = tuple(
        OutputObject(key=f"vod/{number}/{output}-{file}.mp4", role="main", size_bytes=1, etag="e" * 32, md5="0" * 32)
        for file in range(FILES)
    )
    result = SubtaskResult(
        id=f"{output}_x", task="web", type="transcode", label=str(output), bucket="outputs", source_uri=f"inbox/in/{number}.mp4",
        spec={}, outputs=objects, preview_key="_mps/previews/" + "0" * 40, commands=("ffmpeg " + "x" * 800,),
    )  # fmt: skip
    return SubtaskState(task="web", id=result.id, type="transcode", label=result.label, status="SUCCESS", result=result)


if __name__ == "__main__":
    main()
