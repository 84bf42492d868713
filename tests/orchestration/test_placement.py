"""Which queued runs of a cluster are started now."""

from __future__ import annotations

import pytest

from mps_dagster.control.code_version import code_version
from mps_dagster.control.ray import Host
from mps_dagster.orchestration.placement import Candidate, Demand, Free, demand_of, fitting, room_for_workers

MB, GB = 2**20, 2**30
UPLOAD = Demand(2, 1)


def host(name: str, cores: float = 4, scratch_gb: float = 100, **facts) -> Host:
    return Host(name, f"id of {name}", "10.0.0.1", cores, scratch_gb, **{"code": code_version(), **facts})


def run(name: str, cores: int = 2, scratch_gb: int = 1, on: str = "", *, is_backfill: bool = False) -> Candidate:
    return Candidate(name, Demand(cores, scratch_gb), on, is_backfill)


def started(queued: list[Candidate], hosts: list[Host], running: list[Candidate] = ()) -> list[str]:
    """`queued` as the queue hands it over: backfills last."""
    in_order = sorted(queued, key=lambda run: run.is_backfill)
    return [run.run_id for run in fitting(in_order, [host for host in hosts if host.takes_runs], running, UPLOAD)]


A, B = host("a"), host("b")
CASES = {
    "as many as have cores": ([run("1"), run("2"), run("3"), run("4"), run("5")], [A, B], [], ["1", "2", "3", "4"]),
    "none without hosts": ([run("1")], [], [], []),
    "none beside what runs": ([run("1")], [A], [run("x", 4, on="a")], []),
    "beside what starts and has no host yet": ([run("1"), run("2")], [A], [run("x", 2)], ["1"]),
    "what runs on a host that is gone takes no room": ([run("1"), run("2")], [A], [run("x", 4, on="gone")], []),
    "a host that has no core is no room for one of four": ([run("1", 4)], [A, B], [run("x", on="a"), run("y", on="b")], []),
    "a big one is not overtaken by small ones": ([run("big", 4), run("small", 1)], [A], [run("x", 1, on="a")], []),
    "no more cores than the biggest host has": ([run("1", 16)], [A, host("c", 1)], [], ["1"]),
    "by scratch, too": ([run("1", 1, 60), run("2", 1, 60)], [A], [], ["1"]),
    "a source that no host has scratch for waits": ([run("1", 1, 500)], [A, B], [], []),
    "not on a host that is drained": ([run("1")], [host("d", draining=True)], [], []),
    "not on a host with other code": ([run("1")], [host("d", code="0.0.9-old")], [], []),
    "backfills leave room for an upload": (
        [run("1", is_backfill=True), run("2", is_backfill=True)], [A], [], ["1"],
    ),
    "which is first": ([run("1", is_backfill=True), run("2", is_backfill=True), run("3")], [A], [], ["3", "1"]),
    "and may be running already": ([run("1", is_backfill=True)], [A], [run("x", on="a")], ["1"]),
    "those that run count": ([run("1", is_backfill=True)], [A], [run("x", on="a", is_backfill=True)], []),
    "also when the upload has ended": ([run("1", is_backfill=True)], [A, B], [run(n, on=h, is_backfill=True) for n, h in ("xa", "yb", "zb")], []),
    "not where there is never room for two": ([run("1", is_backfill=True)], [host("c", 2)], [], ["1"]),
    "a backfill that must wait lets an upload pass": (
        [run("1", is_backfill=True), run("2")], [A], [run("x", on="a", is_backfill=True)], ["2"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("queued", "hosts", "running", "expected"), CASES.values(), ids=CASES)
def test_runs_are_started_where_there_is_room(queued, hosts, running, expected):
    assert started(queued, hosts, running) == expected


def test_a_run_goes_to_the_host_with_most_free_cores():
    """Ray decides it; what is left must be counted alike."""
    free = Free([host("a", 2), host("b", 3)], [])
    assert free.place(Demand(2, 1))
    assert free.place(Demand(2, 1)), "a is free"
    assert not free.place(Demand(2, 1)), "b is not"


@pytest.mark.parametrize(
    ("size", "cores", "scratch_gb"),
    [(0, 1, 1), (20 * MB, 1, 1), (20 * MB + 1, 4, 1), (GB, 4, 4), (50 * GB, 4, 200)],
)
def test_a_run_asks_for_what_its_source_needs(size, cores, scratch_gb):
    assert demand_of(size, run_cores=4) == Demand(cores, scratch_gb)


def test_only_the_first_of_a_long_queue_are_looked_at():
    """To ask a bucket for the size of each source takes time."""
    looked_at = []
    queue = (looked_at.append(number) or run(str(number), 4) for number in range(1000))
    assert len(fitting(queue, [A, B], [], UPLOAD)) == 2
    assert looked_at == [0, 1, 2]


def test_what_a_run_asks_for_survives_its_tag():
    assert Demand.of_tag(Demand(4, 7).as_tag()) == Demand(4, 7)


def test_only_hosts_with_our_code_offer_what_a_run_asks_for():
    assert f"mps_code_{code_version()}" in Demand(1, 1).as_tag()


WORKERS = {
    "beside an upload": ([A, B], [run("1", 2, on="a")], False, 4),
    "and what else runs": ([A, B], [run("1", 2, on="a"), run("x", 3, on="b")], False, 1),
    "where an upload finds no room, none": ([A, B], [run("1", 3, on="a"), run("x", 3, on="b")], False, 0),
    "unless no two runs and a worker have room at all": ([host("c", 3)], [run("1", 2, on="c")], False, 1),
    "but not a backfill's": ([host("c", 3)], [run("1", 2, on="c", is_backfill=True)], True, 0),
    "by scratch, too": ([A, host("d", 8, 5)], [run("1", 4, on="a")], False, 4),
    "none without hosts": ([], [], False, 0),
}


@pytest.mark.parametrize(("hosts", "running", "is_backfill", "count"), WORKERS.values(), ids=WORKERS)
def test_a_run_gets_workers_where_there_is_room(hosts, running, is_backfill, count):
    assert room_for_workers(hosts, running, Demand(1, 1), UPLOAD, is_backfill=is_backfill) == count
