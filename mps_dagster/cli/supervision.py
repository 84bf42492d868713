"""Keeps programs running: one that ends either ends all, or is started again."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import requests

from mps_dagster.cli.code_watch import CodeWatch
from mps_dagster.errors import MpsError
from mps_dagster.ffmpeg.process import Server, service

START_TIMEOUT_S = 120
STOP_S = 6
"""Then a program is killed, so that all have ended within ten seconds."""
STABLE_S = 60
"""A program that has run so long did not die of its start."""
CODE = "code"
"""The program that the others need while they stop."""


class ServiceDown(MpsError):
    """A server did not start, or has ended."""


def restart_delay_s(deaths: int) -> float:
    """How long to wait before a program is started again that has died so often in a row."""
    return min(60.0, 2.0 ** (deaths - 1))


@dataclass(frozen=True, slots=True)
class Program:
    """How to start one of our servers."""

    name: str
    argv: tuple[str, ...]
    cwd: Path
    logs: Path
    environment: Mapping[str, str]

    @property
    def log(self) -> Path:
        return self.logs / f"{self.name}.log"


@dataclass(slots=True)
class _Running:
    """A program's process, or the wait for its next one."""

    program: Program
    context: ExitStack
    process: Server
    started_s: float
    deaths: int = 0
    """In a row."""
    due_s: float | None = None
    """When it is started again; None while it runs."""


@dataclass
class Services:
    """The running programs, by name. To be started and checked by one thread, because they die with the one that started them."""

    restarts: bool = False
    """Whether a program that ends is started again, instead of ending all."""
    report: Callable[[str], object] = print
    log_bytes: int = 50_000_000
    """A longer log is rotated."""
    clock: Callable[[], float] = time.monotonic
    code: CodeWatch | None = None
    _running: dict[str, _Running] = field(default_factory=dict)

    def start(self, program: Program) -> None:
        context = ExitStack()
        process = context.enter_context(
            service(program.argv, cwd=program.cwd, log=program.log, environment=program.environment)
        )
        self._running[program.name] = _Running(program, context, process, self.clock())

    def check(self) -> None:
        """Start programs again that have ended, or raise `ServiceDown`. Rotate long logs."""
        for running in self._running.values():
            if running.due_s is not None:
                if self.clock() >= running.due_s:
                    self._start_again(running)
            elif running.process.poll() is not None:
                self._ended(running)
            _rotate(running.program.log, self.log_bytes)
        if self.code and self.code.lost:
            self._code_lost(self.code)

    def wait(self, what: str, ready: Callable[[], bool]) -> None:
        """Wait until it is ready; raise `ServiceDown` if it is not in time."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            self.check()
            if ready():
                return
            time.sleep(0.1)
        raise ServiceDown(f"{what} did not answer within {START_TIMEOUT_S} s", hint=f"see {self._logs}")

    def stop(self) -> None:
        """Stop all, the code server last: a daemon in the middle of its work would record a failure."""
        code = self._running.get(CODE)
        _stop([running for running in self._running.values() if running is not code], STOP_S)
        _stop([code] if code else [], STOP_S / 2)
        for running in self._running.values():
            running.context.close()

    def _ended(self, running: _Running) -> None:
        name, code, log = running.program.name, running.process.returncode, running.program.log
        if not self.restarts:
            raise ServiceDown(f"{name} has ended (exit code {code})", hint=f"see {log}")
        now = self.clock()
        running.deaths = 1 if now - running.started_s > STABLE_S else running.deaths + 1
        delay_s = restart_delay_s(running.deaths)
        running.due_s = now + delay_s
        self.report(f"{name} has ended (exit code {code}); it is started again in {delay_s:g} s, see {log}")

    def _start_again(self, running: _Running) -> None:
        running.context.close()
        self.start(running.program)
        self._running[running.program.name].deaths = running.deaths

    def _code_lost(self, watch: CodeWatch) -> None:
        problem = "Dagster has lost the process that holds the project's code, and a reload did not bring it back"
        if not self.restarts or CODE not in self._running:
            raise ServiceDown(problem, hint=f"see {self._logs}")
        self.report(problem)
        watch.begin_again()
        self._running[CODE].process.kill()

    @property
    def _logs(self) -> str:
        return ", ".join(str(running.program.log) for running in self._running.values())


@contextmanager
def running_services(services: Services) -> Iterator[Services]:
    """Stop them all at the end of the block."""
    try:
        yield services
    finally:
        services.stop()


def answers(url: str) -> bool:
    try:
        requests.get(url, timeout=2)
    except requests.RequestException:
        return False
    return True


def _stop(all_running: list[_Running], within_s: float) -> None:
    for running in all_running:
        running.process.terminate()
    deadline = time.monotonic() + within_s
    for running in all_running:
        while running.process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        running.process.kill()


def _rotate(log: Path, limit: int) -> None:
    """Copy and truncate the log, as the servers and their runs keep it open for appending. One old log is kept."""
    with suppress(OSError):
        if log.stat().st_size > limit:
            shutil.copyfile(log, log.with_name(f"{log.name}.1"))
            os.truncate(log, 0)
