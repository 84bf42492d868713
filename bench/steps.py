"""The cost of one upload besides ffmpeg: CPU-seconds by kind of process, over a whole deployment (`mps up`).

    python bench/steps.py [--uploads 3] [--idle-s 15] [--workflows 1]

Fifteen cheap outputs of seven tasks, as in workflows/demo.yaml, from a two-second clip: thirty steps. The idle deployment
is measured first and subtracted. CPU time instead of wall time, so that the load of the machine does not matter. Linux
only: reads /proc. Records are in SQLite, or in PostgreSQL with MPS_DATABASE_URL.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections import Counter
from pathlib import Path

from watch import PERMANENT, Watch, adopt_orphans, by_kind, deployment, per_second, prepare

AFTER_S = 8
"""For the sensors that handle the end of a run, and for processes to exit."""
WORKFLOW = """
name: steps
trigger: {bucket: inbox}
output: {bucket: outputs, dir: "/{inputName}/"}
notify: [{type: local, queue: events}]
tasks:
  web:
    type: transcode
    outputs:
      - {name: a, video_template: {height: 90, effort: fast}}
      - {name: b, video_template: {height: 72, effort: fast}}
      - {name: c, video_template: {height: 54, effort: fast}}
      - {name: d, video_template: {height: 36, effort: fast}}
      - {name: e, raw_parameter: {container: mp3}}
      - {name: f, raw_parameter: {container: mp4, remove_video: 1}}
  stills:
    type: snapshot_by_time_offset
    outputs: [{definition: 10, ext_time_offset_set: [0s]}, {name: small, height: 90, ext_time_offset_set: [50%]}]
  samples:
    type: sample_snapshot
    outputs: [{definition: 10}, {name: small, sample_type: Time, sample_interval: 1, height: 90}]
  scrubbing:
    type: image_sprite
    outputs: [{name: sprite, sample_type: Time, sample_interval: 1, row_count: 2, column_count: 2}]
  teaser:
    type: animated_graphics
    outputs: [{name: gif, fps: 4, width: 128}, {name: webp, format: webp, fps: 4, width: 128}]
  branded:
    type: watermark
    outputs:
      - name: branded
        effort: fast
        watermark_set: [{type: text, x_pos: 2%, y_pos: 4%, text_content: bench}]
  preview:
    type: animated_graphics
    source: web/a
    outputs: [{name: preview, fps: 4, width: 64}]
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--uploads", type=int, default=3)
    parser.add_argument("--idle-s", type=float, default=15)
    parser.add_argument("--workflows", type=int, default=1, help="all but one get no upload")
    options = parser.parse_args()
    adopt_orphans()
    with tempfile.TemporaryDirectory(prefix="mps-bench-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        prepare(home, workflows(options.workflows - 1))
        with deployment(), Watch() as watch:
            _measure(home, watch, options)


def workflows(others: int) -> dict[str, str]:
    def other(number: int) -> str:
        text = WORKFLOW.replace("name: steps", f"name: other{number}")
        return text.replace("inbox", f"inbox, dir: /{number}/", 1)

    return {"steps": WORKFLOW, **{f"other{number}": other(number) for number in range(others)}}


def _measure(home: Path, watch: Watch, options: argparse.Namespace) -> None:
    from dagster import DagsterInstance

    from mps_dagster.cli.demo_source import make_demo_source
    from mps_dagster.ffmpeg.program import Ffmpeg
    from mps_dagster.settings import Settings

    settings = Settings()
    clip = home / "clip.mp4"
    make_demo_source(Ffmpeg.of(settings), clip, seconds=2, width=320, height=180)
    with DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        # A first run, to warm up.
        _upload(instance, settings, clip, "cold")
        time.sleep(AFTER_S)
        before, started = watch.used(), time.monotonic()
        time.sleep(options.idle_s)
        idle = per_second(before, watch.used(), time.monotonic() - started)
        print(f"idle: {sum(idle.values()):.3f} of a core ({by_kind(idle)})", flush=True)
        figures = []
        for number in range(options.uploads):
            before, started = watch.used(), time.monotonic()
            ffmpeg_s, steps, wall_s = _upload(instance, settings, clip, f"clip{number}")
            time.sleep(AFTER_S)
            elapsed_s = time.monotonic() - started
            used = watch.used() - before
            used["ffmpeg"] = ffmpeg_s
            used["between samples"] = watch.total_of(used) - sum(used.values())
            for kind in PERMANENT:
                # On a busy machine they may use less than when idle.
                used[kind] = max(0.0, used[kind] - idle[kind] * elapsed_s)
            figures.append(used)
            print(f"upload {number + 1}: {steps} steps, {wall_s:.1f} s wall, {by_kind(used)}", flush=True)
    _report(figures, steps)


def _upload(instance, settings, clip: Path, name: str) -> tuple[float, int, float]:
    """Upload the clip and wait for the end of its run. Returns ffmpeg's CPU seconds, the number of steps, wall seconds."""
    from mps_dagster.control.task_run import task_run
    from mps_dagster.orchestration.runs import run_record

    started = time.monotonic()
    draft = settings.home / "draft"
    shutil.copyfile(clip, draft)
    # New content, so that no earlier output is reused.
    with draft.open("ab") as file:
        file.write(b"\0\0\0\x18free" + os.urandom(16))
    inbox = settings.buckets_dir / "inbox"
    draft.rename(inbox / f"{name}.mp4")
    while not (runs := [run for run in instance.get_runs(limit=3) if run.tags.get("mps/key") == f"{name}.mp4"]):
        time.sleep(0.2)
    while not (run := instance.get_run_by_id(runs[0].run_id)).is_finished:
        time.sleep(0.2)
    wall_s = time.monotonic() - started
    record = run_record(instance, run, None)
    results = [subtask.result for subtask in task_run(record).subtasks if subtask.result]
    if not run.is_success:
        raise SystemExit(f"the run failed: {[(item.label, item.message) for item in task_run(record).subtasks]}")
    return sum(result.cpu_s for result in results), len(record.steps), wall_s


def _report(figures: list[Counter[str]], steps: int) -> None:
    kinds = sorted({kind for used in figures for kind in used})
    print(f"\n{'CPU-seconds per upload':<24}{'median':>8}")
    for kind in kinds:
        print(f"{kind:<24}{statistics.median(used[kind] for used in figures):>8.2f}")
    not_ours = ("ffmpeg", "source probe")
    totals = [sum(seconds for kind, seconds in used.items() if kind not in not_ours) for used in figures]
    total = statistics.median(totals)
    print(f"{'orchestration':<24}{total:>8.2f}  ({total / steps:.3f} per step, {steps} steps)")


if __name__ == "__main__":
    main()
