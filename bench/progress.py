"""What progress costs: CPU of a subtask that reports it, and of somebody who looks at a task run once a second.

    python bench/progress.py [--looks 60]

A whole deployment (`mps up`) with the workflow of steps.py, whose run has thirty steps. CPU time instead of wall time, so that
the load of the machine does not matter. Linux only: reads /proc. In SQLite and files, or in PostgreSQL with MPS_DATABASE_URL.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg
from steps import WORKFLOW, _upload
from watch import Watch, adopt_orphans, deployment, prepare

REPORTS_PER_S = 2
"""Of ffmpeg's -progress."""
TIMES = 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--looks", type=int, default=60)
    options = parser.parse_args()
    adopt_orphans()
    with tempfile.TemporaryDirectory(prefix="mps-bench-", ignore_cleanup_errors=True) as folder:
        prepare(Path(folder), {"steps": WORKFLOW})
        with deployment(), Watch() as watch:
            _measure(Path(folder), watch, options.looks)


def _measure(home: Path, watch: Watch, looks: int) -> None:
    from mps_dagster.cli.demo_source import make_demo_source
    from mps_dagster.execution.progress import progress_store
    from mps_dagster.ffmpeg.program import Ffmpeg
    from mps_dagster.settings import Settings

    settings = Settings()
    clip = home / "clip.mp4"
    make_demo_source(Ffmpeg.of(settings), clip, seconds=2, width=320, height=180)
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        _upload(instance, settings, clip, "clip")
        [run] = instance.get_runs(limit=1)
        written_s, report_s, note_s = _write_s(settings), _report_s(), _note_s(instance)
    store = progress_store(settings)
    read_s = _each(lambda: store.read("bench"))
    every_s = _every_s(settings)
    minute_s = 60 * (REPORTS_PER_S * report_s + written_s / every_s)
    print(f"a report {1e6 * report_s:.0f} µs, stored each {every_s:g} s for {1e3 * written_s:.2f} ms: "
          f"{1e3 * minute_s:.0f} ms per minute of a subtask ({minute_s / 60:.3%} of a core)")  # fmt: skip
    print(f"a note in the run's log {1e3 * note_s:.1f} ms, at most {9e3 * note_s:.0f} ms per subtask")
    print(f"to read the progress of a run {1e3 * read_s:.2f} ms")
    _look(settings, run.run_id, watch, looks)


def _each(call: Callable[[], object], times: int = TIMES) -> float:
    """CPU seconds of one call."""
    call()
    before = time.process_time()
    for _ in range(times):
        call()
    return (time.process_time() - before) / times


def _every_s(settings) -> float:
    from mps_dagster.execution import progress

    return progress.ROW_EVERY_S if settings.database_url else progress.FILE_EVERY_S


def _write_s(settings) -> float:
    """Of storing the progress of one step, as often as it is asked for."""
    from mps_dagster.execution import progress
    from mps_dagster.execution.pace import StepProgress

    usual = progress.FILE_EVERY_S, progress.ROW_EVERY_S
    progress.FILE_EVERY_S = progress.ROW_EVERY_S = 0
    keep = progress.progress_store(settings).keep("bench", "vod__web.subtask[0_100030]")
    try:
        return _each(lambda: keep(StepProgress(0.5, 2.0, 30.0)))
    finally:
        progress.FILE_EVERY_S, progress.ROW_EVERY_S = usual


def _report_s() -> float:
    """Of a report, without storing it."""
    from mps_dagster.execution.pace import Notes
    from mps_dagster.execution.progress import reporter

    report = reporter(Notes(lambda _: None).hear)
    return _each(lambda: report(0.5, 2.0), 20_000)


def _note_s(instance) -> float:
    """Of a note, with whatever Dagster does with it."""
    found = []

    @dg.op
    def notes(context) -> None:
        found.append(_each(lambda: context.log.info("40 %, 2.3×, 0:01:20 left"), 200))

    @dg.job
    def noted() -> None:
        notes()

    noted.execute_in_process(instance=instance)
    return found[0]


def _look(settings, run_id: str, watch: Watch, looks: int) -> None:
    """`mps status --follow` and the pages look once a second."""
    from mps_dagster.control.deployment import Deployment
    from mps_dagster.control.task_run import task_id
    from mps_dagster.control.tasks import describe

    task, idle_s = task_id(run_id), 20
    # A first look, to warm up.
    describe(Deployment.of(settings), task)
    before = watch.used()["web server"]
    time.sleep(idle_s)
    idle = (watch.used()["web server"] - before) / idle_s
    before, started, own_s = watch.used()["web server"], time.monotonic(), time.process_time()
    for _ in range(looks):
        describe(Deployment.of(settings), task)
    wall_s = time.monotonic() - started
    own_s = time.process_time() - own_s
    served_s = watch.used()["web server"] - before - idle * wall_s
    print(
        f"a look at a run of thirty steps {1e3 * served_s / looks:.0f} ms of the webserver, {1e3 * own_s / looks:.0f} ms of its own"
    )


if __name__ == "__main__":
    main()
