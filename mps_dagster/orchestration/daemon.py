"""Dagster's daemon: sensors, schedules, queue, backfills, monitoring and retries of runs. One for each deployment.

    python -m mps_dagster.orchestration.daemon WORKSPACE.YAML

As `dagster-daemon run`, but a second one refuses to start.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import dagster as dg

from mps_dagster.control.daemon_lock import DaemonLock, DaemonRunning, daemon_lock
from mps_dagster.errors import MpsError
from mps_dagster.orchestration import internals
from mps_dagster.orchestration.folder_watch import FolderWatch
from mps_dagster.orchestration.retries import Retries
from mps_dagster.orchestration.rhythm import RestingQueue, RestingSensors
from mps_dagster.orchestration.wakes import Wakes, listen
from mps_dagster.settings import Settings

BEAT_S = 30.0
"""How often a daemon gives a sign of life."""
POLL_S = 1.0


class Daemon(internals.DagsterDaemonController):
    """Dagster's daemon threads. Its loop looks after them every five seconds."""

    def __init__(self, workspace: internals.WorkspaceProcessContext, daemons: list[Any], lock: DaemonLock) -> None:
        self._lock, self._workspace, self._since = lock, workspace, time.time()
        super().__init__(workspace, daemons)
        lock.name(self._daemon_uuid)

    def check_daemon_threads(self) -> None:
        super().check_daemon_threads()
        self._lock.check()
        signs = self._instance.get_daemon_heartbeats().values()
        if others := [sign for sign in signs if sign.daemon_id != self._daemon_uuid and sign.timestamp > self._since]:
            # Dagster logs it, too. To end here would let a daemon that somebody started by mistake stop the service.
            self._lock.notice_other()
            self._logger.error("another daemon (%s) works on the same records: end it", others[0].daemon_id)

    def check_workspace_freshness(self, last_workspace_update_time: float) -> float:
        """Dagster would fetch all definitions again each minute, which takes seconds with hundreds of workflows. A thread of
        the workspace fetches them when the code server has loaded others; only what it could not load is tried again."""
        locations = self._workspace.get_current_workspace().code_location_entries.values()
        if any(location.load_error for location in locations):
            return super().check_workspace_freshness(last_workspace_update_time)
        return time.time()


def refuse_second(instance: dg.DagsterInstance, lock: DaemonLock) -> None:
    """Raise `DaemonRunning` if a daemon without our lock gives signs of life: wait whether a recent one is repeated."""
    since = time.time()
    while True:
        signs = [
            sign for sign in instance.get_daemon_heartbeats().values() if sign.daemon_id != lock.predecessor.daemon
        ]
        last_s = max((sign.timestamp for sign in signs), default=0.0)
        if last_s > since:
            raise DaemonRunning(
                "a daemon that `mps up` has not started works on these records",
                hint="end it: `dagster dev` or `dagster-daemon`",
            )
        if time.time() > last_s + BEAT_S + POLL_S:
            return
        time.sleep(POLL_S)


def daemon_threads(instance: dg.DagsterInstance, wakes: Wakes, watch: FolderWatch, settings: Settings) -> Iterator[Any]:
    """What the daemon does, a thread each."""
    for kind in instance.get_required_daemon_types():
        if kind == Retries.daemon_type():
            yield Retries()
        elif kind == RestingQueue.daemon_type():
            yield _queue(wakes, settings)
        elif kind == RestingSensors.daemon_type():
            yield RestingSensors(instance.get_sensor_settings(), wakes, watch)
        else:
            yield internals.create_daemon_of_type(kind, instance)


def _queue(wakes: Wakes, settings: Settings) -> RestingQueue:
    if settings.cluster != "ray":
        return RestingQueue(wakes)
    from mps_dagster.orchestration.cluster_queue import ClusterQueue

    return ClusterQueue(wakes, settings)


def main(workspace_file: str) -> None:
    settings = Settings()
    internals.setup_interrupt_handlers()
    internals.configure_loggers(handler="default", log_level="WARNING")
    with ExitStack() as stack:
        lock = stack.enter_context(daemon_lock(settings))
        instance = stack.enter_context(dg.DagsterInstance.get())
        refuse_second(instance, lock)
        target = internals.WorkspaceFileTarget([workspace_file])
        workspace = stack.enter_context(internals.WorkspaceProcessContext(instance, target))
        wakes = Wakes()
        listen(settings.dagster_home, wakes)
        threads = daemon_threads(instance, wakes, FolderWatch(settings, wakes), settings)
        daemons = [stack.enter_context(daemon) for daemon in threads]
        stack.enter_context(Daemon(workspace, daemons, lock)).check_daemon_loop()


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except KeyboardInterrupt:
        pass
    except MpsError as error:
        raise SystemExit(f"dagster-daemon: {error}") from None
