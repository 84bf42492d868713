"""The only module that starts processes: list argv, limits, a minimal environment, no orphans.

A child has its own process group and dies with its parent (PR_SET_PDEATHSIG, because a killed parent runs no handler).
When it reaches a limit, or on any exception here, the whole group is killed and reaped.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import selectors
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from mps_dagster.errors import ContentMalformed, DiskFull, MpsError, ToolFailed, ToolKilled
from mps_dagster.ffmpeg.movement import Movement

STOP_S = 8
"""How long a server may take to stop; usually two seconds. None has anything to lose by being killed."""
STDERR_BYTES = 32_000
"""How much of the end of stderr is kept: it has ffmpeg's reason for failing."""
_PR_SET_PDEATHSIG, _PR_CAPBSET_DROP = 1, 24
_CAP_SYS_NICE = 23
_ENVIRONMENT = {"PATH": os.defpath, "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
"""Nothing of our own environment: a process that parses hostile files must not see credentials."""

_FULL_TEXTS = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT))
_FULL_CODES = (256 - errno.ENOSPC, 256 - errno.EDQUOT)
"""ffmpeg exits with the low byte of its negative error."""

Server = subprocess.Popen[bytes]
OnLine = Callable[[str], object]
"""Gets each line of stdout as it is printed; true if the line proves that the process gets on."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one process may use."""

    wall_s: float
    stall_s: float
    """Seconds without movement (`Movement`)."""
    memory_bytes: int
    output_bytes: int = 200 * 2**30
    read_bytes: int = 2**60
    """Reading more than this without writing or finishing anything is no movement."""
    niceness: int = 0
    """As `nice`: 0 to 19, higher gives way to other processes."""


@dataclass(frozen=True, slots=True)
class Completed:
    """How one process ended."""

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str
    wall_s: float
    cpu_s: float
    memory_bytes: int
    cwd: Path = Path()
    ended_by: str = ""
    """Why we ended it; empty if it ended by itself."""

    def check(self) -> Completed:
        """Return self if the process succeeded; raise the fitting error otherwise."""
        if self.returncode == 0 and not self.ended_by and not self.met_full_disk:
            return self
        raise _error(self)

    @property
    def met_full_disk(self) -> bool:
        return self.returncode in _FULL_CODES or any(text in self.stderr for text in _FULL_TEXTS)


@dataclass(slots=True)
class _Capture:
    """Output of one pipe: whole lines go to `on_line`, the last bytes are kept."""

    limit: int
    on_line: OnLine | None = None
    tail: bytearray = field(default_factory=bytearray)
    received: int = 0
    advanced: bool = False
    _partial: bytes = b""

    def feed(self, data: bytes) -> None:
        self.received += len(data)
        self.tail += data
        del self.tail[: -self.limit]
        if self.on_line is None:
            return
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            self.advanced |= bool(self.on_line(line.decode("utf-8", "replace")))

    @property
    def text(self) -> str:
        return self.tail.decode("utf-8", "replace")


def run(
    argv: Sequence[str],
    *,
    cwd: Path,
    limits: Limits,
    on_line: OnLine | None = None,
    on_message: Callable[[str], object] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Completed:
    """Run a process to its end. `on_message` gets each line of stderr."""
    stdout, stderr = _Capture(4_000_000, on_line), _Capture(STDERR_BYTES, on_message)
    started = time.monotonic()
    with _child(argv, cwd, limits, environment) as child:
        ended_by = _pump(child, stdout, stderr, limits)
        if ended_by:
            _kill(child)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    return Completed(
        argv=tuple(argv),
        returncode=child.returncode,
        stdout=stdout.text,
        stderr=stderr.text,
        wall_s=time.monotonic() - started,
        cpu_s=usage.ru_utime + usage.ru_stime,
        memory_bytes=usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
        cwd=cwd,
        ended_by=ended_by,
    )


@contextmanager
def service(argv: Sequence[str], *, cwd: Path, log: Path, environment: Mapping[str, str]) -> Iterator[Server]:
    """Run one of our own servers (trusted, without limits) while the block runs."""
    with (
        log.open("ab") as sink,
        subprocess.Popen(
            list(argv),
            cwd=cwd,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
            # Nobody is left who would kill it if it did not stop on SIGTERM.
            preexec_fn=_prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),
        ) as child,
    ):
        try:
            yield child
        finally:
            child.terminate()
            try:
                # Only the server is stopped; runs in its group go on.
                child.wait(timeout=STOP_S)
            except subprocess.TimeoutExpired:
                child.kill()


@contextmanager
def _child(
    argv: Sequence[str], cwd: Path, limits: Limits, environment: Mapping[str, str] | None
) -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen(
        list(argv), cwd=cwd, env=dict(environment or _ENVIRONMENT), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, preexec_fn=_child_setup(limits),
    )  # fmt: skip
    try:
        yield child
    finally:
        # Stop encoding on any exception, for example the interrupt of Dagster's Terminate.
        if child.returncode is None:
            _kill(child)
            child.wait()
        for pipe in (child.stdout, child.stderr):
            if pipe:
                pipe.close()


def _child_setup(limits: Limits) -> Callable[[], None]:
    die_with_parent = _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # As root, SVT-AV1 gives its threads real-time priority, which leaves 5 % of the machine to everything else. Other
    # users lack the capability anyway.
    drop_real_time = _prctl(_PR_CAPBSET_DROP, _CAP_SYS_NICE)
    rlimits = {
        resource.RLIMIT_AS: limits.memory_bytes,
        resource.RLIMIT_FSIZE: limits.output_bytes,
        resource.RLIMIT_CORE: 0,
    }
    if sys.platform == "darwin":
        # macOS refuses an address-space limit below what is already mapped (EINVAL).
        del rlimits[resource.RLIMIT_AS]

    def setup() -> None:
        die_with_parent()
        drop_real_time()
        os.nice(limits.niceness)
        for kind, value in rlimits.items():
            _, hard = resource.getrlimit(kind)
            soft = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(kind, (soft, hard))

    return setup


def _prctl(option: int, argument: int) -> Callable[[], None]:
    if sys.platform != "linux":
        return lambda: None
    # Load before the fork: the child of a threaded process must not take locks.
    libc = ctypes.CDLL(None)
    return lambda: libc.prctl(option, argument)


def _pump(child: subprocess.Popen[bytes], stdout: _Capture, stderr: _Capture, limits: Limits) -> str:
    """Read both pipes until they close; return why the child must be killed, or an empty string."""
    assert child.stdout  # noqa: S101  (both are PIPE)
    assert child.stderr  # noqa: S101
    deadline = time.monotonic() + limits.wall_s
    movement = Movement(child.pid, limits.stall_s, limits.read_bytes)
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ, stdout)
        selector.register(child.stderr, selectors.EVENT_READ, stderr)
        while selector.get_map():
            for ready, _ in selector.select(timeout=0.5):
                data = os.read(ready.fd, 65536)
                if not data:
                    selector.unregister(ready.fileobj)
                    continue
                ready.data.feed(data)
            if time.monotonic() > deadline:
                return f"it ran longer than {limits.wall_s:g} s"
            received = stdout.received + stderr.received
            if reason := movement.stuck(advanced=stdout.advanced, received=received):
                return reason
            stdout.advanced = False
    return ""


def _kill(child: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)


def _error(process: Completed) -> MpsError:
    """The error by what helps: repairing the source, freeing disk space, a retry, a higher limit."""
    command = shlex.join(process.argv)
    tail = "\n".join(process.stderr.strip().splitlines()[-12:])
    name = Path(process.argv[0]).name
    if process.ended_by:
        return ToolFailed(
            f"{name} was stopped: {process.ended_by}\n$ {command}\n{tail}",
            hint="raise the limit if the work is expected",
        )
    if process.returncode == -signal.SIGXFSZ:
        return ToolFailed(f"{name} reached its limit of file size\n$ {command}\n{tail}")
    if process.returncode < 0:
        return ToolKilled.by_signal(name, -process.returncode, f"\n$ {command}\n{tail}")
    if process.met_full_disk:
        return DiskFull(f"{name} found no space left on the disk of {process.cwd}\n$ {command}")
    if "Invalid data found when processing input" in process.stderr:
        return ContentMalformed(f"{name} could not decode the source\n$ {command}\n{tail}")
    return ToolFailed(f"{name} failed with exit code {process.returncode}\n$ {command}\n{tail}")
