"""The processes of one deployment by what they are, from /proc."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mps_dagster.settings import Settings

UP, RUNNER, RUN, WORKER, FFMPEG = "mps up", "runner", "run", "worker", "ffmpeg"
CODE, CODE_CHILD, DAEMON, WEB, API, FILES = "code server", "code server's child", "daemon", "web server", "API", "files"
OTHER = "other"
WORDS = {
    # In this order: a command line may hold several.
    "mps up": UP,
    "dagster_webserver": WEB,
    "mps_dagster.orchestration.daemon": DAEMON,
    "dagster api grpc": CODE_CHILD,
    "dagster code-server": CODE,
    "mps_dagster.api.server": API,
    "mps_dagster.api.files": FILES,
    "mps_dagster.orchestration.runner": RUNNER,
    "mps_dagster.media.probe": "probe",
}
SERVERS = (UP, RUNNER, CODE, CODE_CHILD, DAEMON, WEB, API, FILES)


@dataclass(frozen=True, slots=True)
class Process:
    pid: int
    parent: int
    line: str
    role: str
    run_id: str = ""
    """If it works in a run's scratch folder."""

    @property
    def resources(self) -> tuple[int, int]:
        """Open files and threads; zeros if it is gone."""
        with suppress(OSError):
            files, threads = (sum(1 for _ in Path(f"/proc/{self.pid}/{name}").iterdir()) for name in ("fd", "task"))
            return files, threads
        return 0, 0


def processes(settings: Settings) -> list[Process]:
    """All that were started with this home, or work below it."""
    found = {pid: (parent, line, cwd) for pid, parent, line, cwd in _ours(settings)}
    scratch = settings.scratch_dir
    result = []
    for pid, (parent, line, cwd) in found.items():
        run_id = cwd.relative_to(scratch).parts[0] if cwd.is_relative_to(scratch) and cwd != scratch else ""
        role = FFMPEG if run_id and "ffmpeg" in line.partition(" ")[0] else _role(pid, found)
        result.append(Process(pid, parent, line, role, run_id))
    return result


def alive(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def _role(pid: int, found: dict[int, tuple[int, str, Path]]) -> str:
    parent, line, _ = found[pid]
    own = next((role for words, role in WORDS.items() if words in line), OTHER)
    above = found[parent][1] if parent in found else ""
    if own == RUNNER and "mps up" not in above:
        # Forked, with its parent's command line; a run outlives the runner and is then nobody's child.
        grand = found[parent][0] if parent in found else 0
        return WORKER if above == line and "mps up" not in (found[grand][1] if grand in found else "") else RUN
    if "multiprocessing.spawn" in line:
        return RUN if "dagster api grpc" in above else WORKER
    return own


def _ours(settings: Settings) -> Iterator[tuple[int, int, str, Path]]:
    home = f"DAGSTER_HOME={settings.dagster_home}\0".encode()
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError):
            if int(entry.name) == os.getpid():
                continue
            stat = (entry / "stat").read_text().rpartition(")")[2].split()
            cwd = (entry / "cwd").readlink()
            if stat[0] != "Z" and (
                cwd.is_relative_to(settings.scratch_dir) or home in (entry / "environ").read_bytes()
            ):
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                # The database's server inherits the environment of who started it again.
                if "postgres" not in line.partition(" ")[0]:
                    yield int(entry.name), int(stat[1]), line, cwd
