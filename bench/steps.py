"""The cost of one upload besides ffmpeg: CPU-seconds by kind of process, over a whole deployment (`mps up`).

    python bench/steps.py [--uploads 3] [--idle-s 15] [--workflows 1]

Fifteen cheap outputs of seven tasks, as in workflows/demo.yaml, from a two-second clip: thirty steps. The idle deployment
is measured first and subtracted. CPU time instead of wall time, so that the load of the machine does not matter. Linux
only: reads /proc. Records are in SQLite, or in PostgreSQL with MPS_DATABASE_URL.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

HERE = Path(__file__).parent
TICKS = os.sysconf("SC_CLK_TCK")
SAMPLE_EVERY_S = 0.02
AFTER_S = 8
"""For the sensors that handle the end of a run, and for processes to exit."""
PR_SET_CHILD_SUBREAPER = 36
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
KINDS = (
    # The first entry whose text is in the command line.
    ("web server", "dagster_webserver"),
    ("daemon", "mps_dagster.orchestration.daemon"),
    ("code server", "dagster api grpc"),
    ("code server", "dagster code-server"),
    ("files, API", "mps_dagster.api"),
    ("source probe", "mps_dagster.media.probe"),
    ("log capture", "watch_orphans"),
    ("log capture", "tail -F"),
    ("mps up", "mps up"),
    ("other", "resource_tracker"),
    ("runner", "mps_dagster.orchestration.runner"),
    ("runs", "multiprocessing.spawn"),
    ("ffmpeg", "ffmpeg"),
)
PERMANENT = {"web server", "daemon", "code server", "files, API", "mps up", "runner"}
"""These use CPU when idle, too."""
FORKED = {"runner": "runs", "runs": "steps"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--uploads", type=int, default=3)
    parser.add_argument("--idle-s", type=float, default=15)
    parser.add_argument("--workflows", type=int, default=1, help="all but one get no upload")
    options = parser.parse_args()
    # Become the parent of orphans, so that no CPU time is lost.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    with tempfile.TemporaryDirectory(prefix="mps-bench-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        prepare(home, options.workflows - 1)
        with deployment(), Watch() as watch:
            _measure(home, watch, options)


def prepare(home: Path, others: int, settle_s: float = 0) -> None:
    project = home / "project"
    (project / "workflows").mkdir(parents=True)
    (project / "workflows" / "steps.yaml").write_text(WORKFLOW)
    for number in range(others):
        other = WORKFLOW.replace("name: steps", f"name: other{number}").replace("inbox", f"inbox, dir: /{number}/", 1)
        (project / "workflows" / f"other{number}.yaml").write_text(other)
    for name in ("dagster.yaml", "workspace.yaml"):
        shutil.copyfile(HERE.parent / name, project / name)
    ports = [str(port) for port in _free_ports(3)]
    os.environ |= {
        "MPS_HOME": str(home / "home"), "MPS_PROJECT": str(project), "DAGSTER_HOME": str(home / "home" / "dagster"),
        "MPS_UI_PORT": ports[0], "MPS_FILES_PORT": ports[1], "MPS_API__PORT": ports[2], "MPS_SETTLE_S": str(settle_s),
    }  # fmt: skip


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


@contextmanager
def deployment() -> Iterator[None]:
    mps = Path(sys.executable).parent / "mps"
    with subprocess.Popen([str(mps), "up"], stdout=subprocess.PIPE, text=True) as up:
        try:
            assert up.stdout
            if not any("Ctrl-C" in line for line in up.stdout):
                raise SystemExit("mps up did not start")
            yield
        finally:
            up.send_signal(signal.SIGTERM)


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
        idle = _per_second(before, watch.used(), time.monotonic() - started)
        print(f"idle: {sum(idle.values()):.3f} of a core ({_format(idle)})", flush=True)
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
            print(f"upload {number + 1}: {steps} steps, {wall_s:.1f} s wall, {_format(used)}", flush=True)
    _report(figures, steps)


class Watch:
    """CPU seconds by kind of process, of all descendants; complete, although most processes live less than a second."""

    def __init__(self) -> None:
        self._self_s: dict[tuple[int, str], float] = {}
        self._kind: dict[tuple[int, str], str] = {}
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._exact: list[float] = []

    def __enter__(self) -> Watch:
        threading.Thread(target=self._sample_often, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    def used(self) -> Counter[str]:
        """CPU seconds so far, by kind."""
        with self._lock:
            self._sample()
            by_kind: Counter[str] = Counter()
            for process, seconds in self._self_s.items():
                by_kind[self._kind[process]] += seconds
            self._exact.append(self._all())
            return by_kind

    def total_of(self, _: Counter[str]) -> float:
        """CPU seconds between the last two calls of `used`, from the parents' totals of their children: nothing is missed."""
        return self._exact[-1] - self._exact[-2]

    def _sample_often(self) -> None:
        while not self._ended.wait(SAMPLE_EVERY_S):
            with self._lock:
                self._sample()

    def _sample(self) -> None:
        for pid, stat in _descendants().items():
            # Process ids are reused, so the start time is part of the key.
            process = (pid, stat[19])
            self._self_s[process] = (int(stat[11]) + int(stat[12])) / TICKS
            kind = _kind(pid, int(stat[1]))
            if kind != "other" or process not in self._kind:
                self._kind[process] = kind

    def _all(self) -> float:
        # Orphans are our children.
        with suppress(ChildProcessError):
            while _reap():
                pass
        children = os.times()
        living = sum(sum(map(int, stat[11:15])) for stat in _descendants().values()) / TICKS
        return living + children.children_user + children.children_system


def _reap() -> bool:
    """Reap one orphan; never `mps up`, which lives until the end and is waited for elsewhere."""
    return os.waitpid(-1, os.WNOHANG)[0] != 0


def _descendants() -> dict[int, list[str]]:
    """/proc's stat of all descendants, from the third field on."""
    stats: dict[int, list[str]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with suppress(OSError), Path(f"/proc/{entry.name}/stat").open() as file:
                stats[int(entry.name)] = file.read().rpartition(")")[2].split()
    parents = {pid: int(stat[1]) for pid, stat in stats.items()}

    def below(pid: int) -> bool:
        while pid in parents:
            pid = parents[pid]
            if pid == os.getpid():
                return True
        return False

    return {pid: stat for pid, stat in stats.items() if below(pid)}


def _kind(pid: int, parent: int) -> str:
    line = _command(pid)
    for kind, words in KINDS:
        if words in line:
            # A forked process has its parent's command line.
            return FORKED.get(_kind(parent, _parent(parent)), kind) if line == _command(parent) else kind
    return "other"


def _parent(pid: int) -> int:
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def _command(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    return ""


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


def _per_second(before: Counter[str], after: Counter[str], seconds: float) -> Counter[str]:
    return Counter({kind: (after[kind] - before[kind]) / seconds for kind in PERMANENT})


def _format(used: Counter[str]) -> str:
    return ", ".join(f"{kind} {seconds:.2f}" for kind, seconds in sorted(used.items()) if abs(seconds) > 0.004)


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
