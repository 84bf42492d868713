"""What is done to the deployment, at random: kills, stops, a full disk, a bucket that is cut off or slow, a database that restarts."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from postgresql import PostgreSql

from mps_dagster.settings import Settings
from soak.processes import (
    API,
    CODE,
    CODE_CHILD,
    DAEMON,
    FFMPEG,
    FILES,
    RUN,
    RUNNER,
    SERVERS,
    UP,
    WEB,
    WORKER,
    Process,
    alive,
    processes,
)
from soak.s3_server import Proxy
from soak.up import Up

KILLS = {WORKER: 22, RUN: 18, FFMPEG: 16, RUNNER: 7, DAEMON: 8, CODE: 6, CODE_CHILD: 6, WEB: 5, API: 4, FILES: 3, UP: 5}
"""Kinds of processes by how often they are killed."""
STOPS = (WORKER, RUN, FFMPEG, RUNNER, DAEMON, CODE_CHILD, WEB)
FIND_S = 4.0
"""How long a process of a kind is waited for."""
MB = 2**20


@dataclass(slots=True)
class Fault:
    """One thing that was done."""

    kind: str
    at: float
    """Unix seconds."""
    until: float = 0.0
    """When it was over; for a kill the same as `at`."""
    pid: int = 0
    run_id: str = ""
    recovered: float | None = None
    """When the service was whole again; of others, `report.py` finds out."""


@dataclass(frozen=True)
class Means:
    """What can be taken away."""

    settings: Settings
    up: Up
    proxy: Proxy
    s3_pid: int
    scratch_is_small: bool
    database: PostgreSql | None = None


@dataclass
class Injector:
    """Does one thing after the other."""

    means: Means
    chance: random.Random
    faults: list[Fault] = field(default_factory=list)
    say: Callable[[str], object] = print
    _open: list[Fault] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)

    @property
    def kills(self) -> int:
        return sum(fault.kind.startswith("kill ") for fault in self.faults)

    def run(self, kills: int, pause_s: tuple[float, float]) -> None:
        """Until so many processes were killed."""
        threading.Thread(target=self._watch, name="recovery", daemon=True).start()
        while self.kills < kills:
            time.sleep(self.chance.uniform(*pause_s))
            self._one()
        # Whatever still waits to be whole again is watched a little longer.
        deadline = time.monotonic() + 120
        while self._open and time.monotonic() < deadline:
            time.sleep(1)
        self._ended.set()

    def _one(self) -> None:
        what = {"kill": 80, "stop": 8, "cut the bucket off": 5, "slow bucket": 4}
        if self.means.scratch_is_small:
            what["full scratch disk"] = 4
        if self.means.database:
            what["restart the database"] = 5
        kind = self.chance.choices(list(what), list(what.values()))[0]
        if kind in ("kill", "stop"):
            self._signal(kind)
            return
        fault = Fault(kind, time.time())
        self.say(kind)
        {"cut the bucket off": self._cut, "slow bucket": self._slow, "full scratch disk": self._fill,
         "restart the database": self._restart_database}[kind]()  # fmt: skip
        fault.until = time.time()
        self.faults.append(fault)

    def _signal(self, verb: str) -> None:
        names = KILLS if verb == "kill" else dict.fromkeys(STOPS, 1)
        role = self.chance.choices(list(names), list(names.values()))[0]
        process = self._find(role)
        if process is None:
            return
        fault = Fault(f"{verb} {role}", time.time(), pid=process.pid, run_id=self._run_of(process))
        with suppress(ProcessLookupError):
            self.say(f"{fault.kind} {process.pid} {fault.run_id[:8]}")
            os.kill(process.pid, signal.SIGKILL if verb == "kill" else signal.SIGSTOP)
            if verb == "stop":
                time.sleep(self.chance.uniform(1, 6))
                os.kill(process.pid, signal.SIGCONT)
            fault.until = time.time()
            self.faults.append(fault)
            if verb == "kill" and role in SERVERS:
                self._open.append(fault)

    def _find(self, role: str) -> Process | None:
        deadline = time.monotonic() + FIND_S
        while time.monotonic() < deadline:
            if found := [process for process in processes(self.means.settings) if process.role == role]:
                return self.chance.choice(sorted(found, key=lambda process: process.pid))
            time.sleep(0.02)
        return None

    def _run_of(self, process: Process) -> str:
        """The run of a process, if it or a process below it has begun to work."""
        if process.run_id:
            return process.run_id
        every = processes(self.means.settings)
        below = [other for other in every if other.parent == process.pid]
        below += [other for other in every if any(other.parent == child.pid for child in below)]
        return next((other.run_id for other in below if other.run_id), "") if process.role in (RUN, WORKER) else ""

    def _cut(self) -> None:
        self.means.proxy.cut()
        time.sleep(self.chance.uniform(2, 15))
        self.means.proxy.mend()

    def _slow(self) -> None:
        if self.chance.random() < 0.3:
            os.kill(self.means.s3_pid, signal.SIGSTOP)
            time.sleep(self.chance.uniform(2, 12))
            os.kill(self.means.s3_pid, signal.SIGCONT)
            return
        self.means.proxy.delay_s = self.chance.uniform(0.5, 3)
        time.sleep(self.chance.uniform(4, 12))
        self.means.proxy.mend()

    def _fill(self) -> None:
        ballast = self.means.settings.scratch_dir / ".ballast"
        with suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(MB))
        time.sleep(self.chance.uniform(2, 8))
        ballast.unlink(missing_ok=True)

    def _restart_database(self) -> None:
        assert self.means.database
        self.means.database.stop()
        time.sleep(self.chance.uniform(0, 5))
        self.means.database.start()

    def _watch(self) -> None:
        """Note when what was killed is there again."""
        while not self._ended.wait(1):
            for fault in [fault for fault in self._open if self._is_whole(fault)]:
                fault.recovered = time.time()
                self._open.remove(fault)

    def _is_whole(self, fault: Fault) -> bool:
        if alive(fault.pid):
            return False
        role, up = fault.kind.removeprefix("kill "), self.means.up
        if role == UP:
            return up.is_well()
        served = {WEB: "web", API: "API", FILES: "files"}
        if role in served:
            return up.answers(served[role])
        return any(process.role == role for process in processes(self.means.settings))
