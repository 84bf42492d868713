"""Workers of a run on other hosts of a cluster, for the chunks of a long source; each is a Ray job with one core.

    run's process ── submits ──► Ray ──► remote_run.py ──► the host's runner ──► remote_worker.py
          ▲                                                                            │
          └──────────────── one connection: steps there, their events back ────────────┘

They take what is free while no run is queued. As soon as one is, they leave after the chunk at hand.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, Listener
from typing import Self

import dagster as dg

from mps_dagster.control import tags
from mps_dagster.control.code_version import code_version
from mps_dagster.control.ray import Host, Ray, ip_towards
from mps_dagster.errors import MpsError
from mps_dagster.orchestration.every import Every
from mps_dagster.orchestration.placement import Demand, of_worker, placed, room_for_workers
from mps_dagster.orchestration.run_request import RunRequest
from mps_dagster.orchestration.workers import Worker, Workers
from mps_dagster.settings import Settings
from mps_dagster.workflow.shipping import revision_of

LOOK_EVERY_S = 5.0
"""How often it is asked whether hosts have room."""
START_S = 60.0
"""After so long, a worker that has not connected is not waited for."""
MOST = 64
IN_PROGRESS = (dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING)
SILENCE_S = 40
"""A connection is given up when the other host has not answered for so long."""


@dataclass(frozen=True, slots=True)
class Joined:
    """The first message of a worker."""

    job: str
    host: str
    pid: int


class Interrupt:
    """End the step at hand."""


@dataclass(slots=True, kw_only=True)
class RemoteWorker(Worker):
    """A process on another host."""

    job: str

    def interrupt(self) -> None:
        with suppress(OSError):
            self.pipe.send(Interrupt())

    def how_it_ended(self) -> str:
        return f"its connection ended: it was killed, or {self.host} is down or cut off"


@dataclass(slots=True)
class RemoteWorkers:
    """Asks for workers on other hosts while there are steps for them."""

    _settings: Settings
    _instance: dg.DagsterInstance
    _run: dg.DagsterRun
    _workers: Workers
    _looks: Every = field(default_factory=lambda: Every(LOOK_EVERY_S))
    _listener: Listener | None = None
    _joined: deque[RemoteWorker] = field(default_factory=deque)
    _starting: dict[str, float] = field(default_factory=dict)
    """When those that have not connected yet are late, by job."""
    _shown: str = "[]"
    _hosts: list[Host] = field(default_factory=list)
    """Those that take runs, as of the last look."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Those that are connected end by themselves; the others would not before they have room."""
        if self._listener:
            self._listener.close()
        for job in self._starting:
            self._stop(job)

    def look(self, steps: int) -> None:
        """Take in those that have connected, and ask for more or let some go, by how many steps could begin on them now."""
        self._take_in()
        if not (steps or self._workers.elsewhere or self._starting) or not self._looks.is_due():
            return
        self._give_up_late_ones()
        self._hosts = self._open_hosts()
        if not steps or self._others_wait():
            for worker in self.idle:
                self._workers.dismiss(worker)
            return
        wanted = min(steps, MOST - len(self._workers.elsewhere)) - len(self.idle) - len(self._starting)
        for _ in range(min(wanted, self._room()) if wanted > 0 else 0):
            self._start()

    @property
    def idle(self) -> list[Worker]:
        return [worker for worker in self._workers.elsewhere if worker.step is None]

    def may_begin(self, worker: Worker) -> bool:
        """Whether it may take another chunk: its host is not being drained, and nobody waits for the room."""
        return any(host.name == worker.host for host in self._hosts) and not self._others_wait()

    def _others_wait(self) -> bool:
        return bool(self._instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED]), limit=1))

    def _room(self) -> int:
        runs = self._instance.get_runs(dg.RunsFilter(statuses=list(IN_PROGRESS)))
        running = [each for run in runs if tags.DEMAND in run.tags for each in placed(run)]
        upload = Demand(self._settings.ray.run_cores, 1)
        return room_for_workers(self._hosts, running, self._demand, upload, is_backfill=tags.BACKFILL in self._run.tags)

    def _open_hosts(self) -> list[Host]:
        try:
            return [host for host in Ray(self._settings).hosts() if host.takes_runs]
        except MpsError:
            # Ray does not answer: those that are at work go on.
            return self._hosts

    @property
    def _demand(self) -> Demand:
        return of_worker(Demand.of_tag(self._run.tags[tags.DEMAND]))

    def _start(self) -> None:
        job = f"chunks-{self._run.run_id}-{secrets.token_hex(4)}"
        serves = f"{self._address()}/{job}"
        request = RunRequest(self._run.run_id, revision_of(self._settings), self._demand.cores, serves)
        with suppress(MpsError):
            Ray(self._settings).submit(job, request.command(code_version()), self._demand.of_ray())
            self._starting[job] = time.monotonic() + START_S
            self._show()

    def _take_in(self) -> None:
        while self._joined:
            joined = self._joined.popleft()
            self._workers.elsewhere.append(joined)
            self._starting.pop(joined.job, None)
        self._show()

    def _give_up_late_ones(self) -> None:
        for job in [job for job, late in self._starting.items() if late < time.monotonic()]:
            self._stop(job)
            del self._starting[job]

    def _stop(self, job: str) -> None:
        with suppress(MpsError):
            Ray(self._settings).stop(job)

    def _address(self) -> str:
        if self._listener is None:
            ray = self._settings.ray
            self._listener = Listener((ip_towards(ray.host, ray.port), 0), authkey=ray.secret.encode())
            threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()
        host, port = self._listener.address
        return f"{host}:{port}"

    def _accept(self, listener: Listener) -> None:
        while True:
            try:
                pipe = listener.accept()
                keep_alive(pipe)
                joined = pipe.recv()
            except (AuthenticationError, EOFError, ConnectionError, TimeoutError):
                # Somebody else, or one that is gone already.
                continue
            except OSError:
                # It was closed.
                return
            name = f"process {joined.pid} on {joined.host}"
            self._joined.append(RemoteWorker(name=name, pipe=pipe, host=joined.host, job=joined.job))

    def _show(self) -> None:
        """In the run's tags, by which the queue knows what room is taken."""
        hosts = [*(worker.host for worker in self._workers.elsewhere), *("" for _ in self._starting)]
        if (shown := json.dumps(hosts)) != self._shown:
            self._shown = shown
            self._instance.add_run_tags(self._run.run_id, {tags.ALSO_ON: shown})


def keep_alive(pipe: Connection) -> None:
    """Have the connection end when the other host does not answer any more."""
    with socket.socket(fileno=os.dup(pipe.fileno())) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (
            (socket.TCP_KEEPIDLE, SILENCE_S // 4),
            (socket.TCP_KEEPINTVL, SILENCE_S // 4),
            (socket.TCP_KEEPCNT, 3),
            (socket.TCP_USER_TIMEOUT, SILENCE_S * 1000),
        ):
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
