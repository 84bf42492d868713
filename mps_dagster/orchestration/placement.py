"""Which queued runs a cluster has room for now. Runs wait in Dagster's queue, by priority, and not in Ray's."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

from dagster import DagsterRun

from mps_dagster.control import tags
from mps_dagster.control.code_version import code_version
from mps_dagster.control.ray import CODE, SCRATCH, Host
from mps_dagster.workflow.naming import BACKFILL, DAILY_USAGE, RETENTION

SMALL_BYTES = 20 * 2**20
"""A source up to this size is done soon, with one core."""
SCRATCH_PER_SOURCE = 4
"""Room in scratch for the source and its outputs, in sizes of the source, and no less than a GB."""
AT_CONTROL = (BACKFILL, RETENTION, DAILY_USAGE)
"""Jobs that look after the deployment itself: they run on the control host."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What a run asks a host for."""

    cores: int
    scratch_gb: int

    def of_ray(self) -> dict[str, Any]:
        """What its Ray job asks for; only a host with our code offers the last resource."""
        resources = {SCRATCH: self.scratch_gb, f"{CODE}{code_version()}": 1}
        return {"num_cpus": self.cores, "resources": resources}

    def as_tag(self) -> str:
        """dagster-ray's configuration of a run's job."""
        return json.dumps(self.of_ray())

    @classmethod
    def of_tag(cls, text: str) -> Demand:
        config = json.loads(text)
        return cls(config["num_cpus"], int(config["resources"][SCRATCH]))


def demand_of(size: int, run_cores: int) -> Demand:
    """By the size of the source in bytes."""
    return Demand(1 if size <= SMALL_BYTES else run_cores, max(1, ceil(SCRATCH_PER_SOURCE * size / 2**30)))


@dataclass(frozen=True, slots=True)
class Candidate:
    """A run that is queued, starting or running."""

    run_id: str
    demand: Demand
    host: str = ""
    """Where it runs; empty = not known yet."""
    is_backfill: bool = False


def placed(run: DagsterRun) -> list[Candidate]:
    """A run that has been given room, and its workers on other hosts."""
    demand = Demand.of_tag(run.tags[tags.DEMAND])
    is_backfill = tags.BACKFILL in run.tags
    own = Candidate(run.run_id, demand, run.tags.get(tags.HOST, ""), is_backfill)
    # Backfills, too, leave room for an upload beside them.
    others = (
        Candidate(run.run_id, of_worker(demand), host, True) for host in json.loads(run.tags.get(tags.ALSO_ON, "[]"))
    )
    return [own, *others]


def of_worker(demand: Demand) -> Demand:
    """What a worker of a run on another host asks for: it makes one chunk after another."""
    return replace(demand, cores=1)


class Free:
    """What hosts have left, as runs are placed: free cores and scratch by name."""

    def __init__(self, hosts: Iterable[Host], running: Iterable[Candidate] = ()) -> None:
        self._left = {host.name: (host.cores, host.scratch_gb) for host in hosts}
        # Those whose host is known first.
        for run in sorted(running, key=lambda run: not run.host):
            self.place(run.demand, run.host)

    def place(self, demand: Demand, name: str = "") -> bool:
        """Take room on the named host, or on the one with most free cores; False if none has it."""
        host = name if name in self._left else self._best(demand)
        if not host:
            return False
        cores, scratch_gb = self._left[host]
        self._left[host] = (cores - demand.cores, scratch_gb - demand.scratch_gb)
        return True

    def fits(self, demand: Demand) -> bool:
        return bool(self._best(demand))

    def _best(self, demand: Demand) -> str:
        fitting = [
            (cores, name) for name, (cores, scratch_gb) in self._left.items()
            if cores >= demand.cores and scratch_gb >= demand.scratch_gb
        ]  # fmt: skip
        return max(fitting, default=(0.0, ""))[1]


def fitting(
    queued: Iterable[Candidate], hosts: Sequence[Host], running: Sequence[Candidate], upload: Demand
) -> list[Candidate]:
    """The runs of the queue that hosts have room for, with what they get. `queued` has the most urgent first.

    One that does not fit keeps those behind it waiting, so that small ones do not overtake a big one for ever. Backfills, which
    come last, leave room for an upload, if there is room for one beside them at all; so none waits for them.
    """
    free, started = Free(hosts, running), []
    most_cores = max((int(host.cores) for host in hosts), default=0)
    backfills = [run.demand for run in running if run.is_backfill]
    leave_room = all_fit(hosts, [upload, upload])
    for run in queued:
        # No more cores than the biggest host has.
        demand = replace(run.demand, cores=min(run.demand.cores, max(1, most_cores)))
        if run.is_backfill:
            backfills.append(demand)
            if leave_room and not all_fit(hosts, [*backfills, upload]):
                break
        if not free.place(demand):
            break
        started.append(replace(run, demand=demand))
    return started


def room_for_workers(
    hosts: Sequence[Host], running: Iterable[Candidate], demand: Demand, upload: Demand, *, is_backfill: bool
) -> int:
    """How many workers of one run other hosts have room for now.

    They leave room for an upload, if there is room for one beside a run and a worker at all; those of a backfill always do.
    """
    free, count = Free(hosts, running), 0
    if (is_backfill or all_fit(hosts, [upload, upload, demand])) and not free.place(upload):
        return 0
    while free.place(demand):
        count += 1
    return count


def all_fit(hosts: Sequence[Host], demands: Iterable[Demand]) -> bool:
    """Whether hosts would have room for all of them, if nothing else ran."""
    free = Free(hosts)
    return all(free.place(demand) for demand in demands)
