"""A deployment for a bench, and the CPU time of its processes by kind. Linux only: reads /proc."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

PROJECT = Path(__file__).parent.parent
TICKS = os.sysconf("SC_CLK_TCK")
SAMPLE_EVERY_S = 0.02
PR_SET_CHILD_SUBREAPER = 36
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


def adopt_orphans() -> None:
    """Become the parent of orphans, so that no CPU time is lost."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


def prepare(home: Path, workflows: Mapping[str, str], settle_s: float = 0) -> None:
    """Write a project with these workflows, and point this process and its children to it."""
    project = home / "project"
    (project / "workflows").mkdir(parents=True)
    for name, text in workflows.items():
        (project / "workflows" / f"{name}.yaml").write_text(text)
    for name in ("dagster.yaml", "workspace.yaml"):
        shutil.copyfile(PROJECT / name, project / name)
    shutil.copytree(PROJECT / "templates", project / "templates")
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


class Watch:
    """CPU seconds by kind of process, of all descendants; complete, although most processes live less than a second."""

    def __init__(self) -> None:
        self._self_s: dict[tuple[int, str], float] = {}
        self._kind: dict[tuple[int, str], str] = {}
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._exact: list[float] = []
        self.first_ffmpeg: dict[str, float] = {}
        """When the first ffmpeg of a run started, in seconds since 1970, by the run's id."""

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
            if kind == "ffmpeg" and process not in self._kind:
                self._note_start(pid, int(stat[19]))
            if kind != "other" or process not in self._kind:
                self._kind[process] = kind

    def _note_start(self, pid: int, ticks: int) -> None:
        """Its working directory is `…/scratch/<run>/<subtask>`."""
        with suppress(OSError, ValueError):
            parts = Path(f"/proc/{pid}/cwd").readlink().parts
            run_id = parts[parts.index("scratch") + 1]
            started = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / TICKS
            self.first_ffmpeg[run_id] = min(started, self.first_ffmpeg.get(run_id, started))

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


def per_second(before: Counter[str], after: Counter[str], seconds: float) -> Counter[str]:
    return Counter({kind: (after[kind] - before[kind]) / seconds for kind in PERMANENT})


def by_kind(used: Counter[str]) -> str:
    return ", ".join(f"{kind} {seconds:.2f}" for kind, seconds in sorted(used.items()) if abs(seconds) > 0.004)
