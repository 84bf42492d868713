"""The run queue of a cluster: a run leaves it when a host has room, so that priorities hold over all hosts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from typing import Any

from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter

from mps_dagster.control import tags
from mps_dagster.control.ray import Host, Ray
from mps_dagster.errors import MpsError
from mps_dagster.orchestration.placement import AT_CONTROL, Candidate, Demand, Free, demand_of, fitting, placed
from mps_dagster.orchestration.rhythm import RestingQueue
from mps_dagster.orchestration.wakes import Wakes
from mps_dagster.settings import Settings
from mps_dagster.storage.buckets import Buckets

SMALLEST = Demand(1, 1)
FORGET_EVERY_S = 600.0


class ClusterQueue(RestingQueue):
    """Dagster's queue, which Ray's free hosts limit."""

    def __init__(self, wakes: Wakes, settings: Settings) -> None:
        super().__init__(wakes)
        self._settings, self._ray = settings, Ray(settings)
        self._upload = Demand(settings.ray.run_cores, 1)
        self._forgets_at = time.monotonic() + FORGET_EVERY_S
        buckets = Buckets(settings).short_timeout

        @lru_cache(maxsize=10_000)
        def size_of(run_id: str, bucket: str, key: str) -> int:  # noqa: ARG001  (a source may be replaced)
            return buckets.get(bucket).head(key).size

        self._size_of = size_of

    def run_iteration(self, workspace_process_context: Any) -> Iterator[Any]:  # type: ignore[override]
        if time.monotonic() > self._forgets_at:
            self._forgets_at = time.monotonic() + FORGET_EVERY_S
            # While Ray does not answer, there is time.
            with suppress(Exception):
                workspace_process_context.instance.run_launcher.forget_ended_jobs(time.time())
        yield from super().run_iteration(workspace_process_context)

    def _get_runs_to_dequeue(self, instance: DagsterInstance, *args: Any, **options: Any) -> list[DagsterRun]:
        if not instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.QUEUED]), limit=1):
            return []
        hosts = self._hosts()
        running = [record.dagster_run for record in self._get_in_progress_run_records(instance)]
        taken = [each for run in running if tags.DEMAND in run.tags for each in placed(run)]
        if hosts and not Free(hosts, taken).fits(SMALLEST):
            # To read a long queue takes longer than to see this.
            return []
        queued = super()._get_runs_to_dequeue(instance, *args, **options)
        here = [run for run in queued if run.job_name in AT_CONTROL]
        there = sorted((run for run in queued if run.job_name not in AT_CONTROL), key=_is_backfill)
        # One after another: of a long queue, only the first are asked for their size.
        candidates = map(self._candidate, there)
        started = {run.run_id: run for run in fitting(candidates, hosts, taken, self._upload)}
        begin = [run for run in there if run.run_id in started]
        for run in begin:
            # A retry has the tags of its predecessor.
            workers = {tags.ALSO_ON: "[]"} if tags.ALSO_ON in run.tags else {}
            demand = started[run.run_id].demand.as_tag()
            instance.add_run_tags(run.run_id, {tags.DEMAND: demand, tags.HOST: "", **workers})
        return [*here, *begin]

    def _hosts(self) -> list[Host]:
        """Those that take runs; none while Ray does not answer."""
        try:
            return [host for host in self._ray.hosts() if host.takes_runs]
        except MpsError as error:
            self._logger.warning("no run can be started: %s", error)
            return []

    def _candidate(self, run: DagsterRun) -> Candidate:
        """A source that cannot be asked for is reported by the run; it may need little."""
        try:
            size = self._size_of(run.run_id, run.tags.get(tags.BUCKET, ""), run.tags.get(tags.KEY, ""))
        except MpsError:
            size = 0
        demand = demand_of(size, self._settings.ray.run_cores)
        return Candidate(run.run_id, demand, is_backfill=_is_backfill(run))


def _is_backfill(run: DagsterRun) -> bool:
    return tags.BACKFILL in run.tags
