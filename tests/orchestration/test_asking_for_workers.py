"""When a run asks other hosts for workers, and when it lets them go."""

from __future__ import annotations

import json
from types import SimpleNamespace

import dagster as dg
import pytest

from mps_dagster.control import tags
from mps_dagster.control.code_version import code_version
from mps_dagster.control.ray import ClusterDown, Host
from mps_dagster.orchestration import every, remote_workers
from mps_dagster.orchestration.placement import Demand
from mps_dagster.orchestration.remote_workers import LOOK_EVERY_S, START_S, RemoteWorker, RemoteWorkers
from mps_dagster.orchestration.workers import Workers
from mps_dagster.settings import RaySettings, Settings

RUN_ID = "8b3a8de0-e212-4bc9-a9af-1f341f9192d4"


class Instance:
    """Dagster's, over the runs that a test names."""

    def __init__(self, run: dg.DagsterRun) -> None:
        self.queued: list[dg.DagsterRun] = []
        self.running = [run]
        self.shown: list[str] = []

    def get_runs(self, filters: dg.RunsFilter, limit: int | None = None) -> list[dg.DagsterRun]:
        return self.queued if filters.statuses == [dg.DagsterRunStatus.QUEUED] else self.running

    def add_run_tags(self, _: str, added: dict[str, str]) -> None:
        self.shown = json.loads(added[tags.ALSO_ON])
        [run] = self.running
        self.running = [run.with_tags({**run.tags, **added})]


class Cluster:
    """Ray, with hosts that a test names and jobs that never start."""

    def __init__(self) -> None:
        self.found = [Host(name, name, "127.0.0.1", 4.0, 100.0, code_version()) for name in ("beta", "gamma")]
        self.jobs: list[str] = []
        self.stopped: list[str] = []
        self.is_down = False

    def hosts(self) -> list[Host]:
        if self.is_down:
            raise ClusterDown("it does not answer")
        return self.found

    def submit(self, job: str, command: str, asks: dict[str, object]) -> None:
        assert RUN_ID in command
        assert asks["num_cpus"] == 1
        self.jobs.append(job)

    def stop(self, job: str) -> None:
        self.stopped.append(job)


class Pipe:
    def __init__(self) -> None:
        self.sent: list[object] = []

    def send(self, message: object) -> None:
        self.sent.append(message)

    def close(self) -> None: ...


@pytest.fixture
def clock(monkeypatch) -> SimpleNamespace:
    clock = SimpleNamespace(now=1000.0)
    for module in (remote_workers, every):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


@pytest.fixture
def cluster(monkeypatch) -> Cluster:
    cluster = Cluster()
    monkeypatch.setattr(remote_workers, "Ray", lambda _: cluster)
    return cluster


@pytest.fixture
def instance() -> Instance:
    own = {tags.DEMAND: Demand(2, 3).as_tag(), tags.HOST: "beta"}
    return Instance(dg.DagsterRun(job_name="vod", run_id=RUN_ID, tags=own))


@pytest.fixture
def asking(tmp_path, clock, cluster, instance):
    ray = RaySettings(host="127.0.0.1", token="a token of twenty signs", run_cores=2)
    settings = Settings(project=tmp_path, home=tmp_path, cluster="ray", ray=ray)
    [run] = instance.running
    with RemoteWorkers(settings, instance, run, Workers(None)) as asking:
        yield asking


def join(asking: RemoteWorkers, job: str, host: str = "gamma") -> RemoteWorker:
    """As a job does that was started."""
    worker = RemoteWorker(name=f"process 1 on {host}", pipe=Pipe(), host=host, job=job)
    asking._joined.append(worker)
    return worker


def test_it_asks_for_as_many_as_there_is_work_and_room_for(asking, cluster, instance, clock):
    """Of eight cores, the run has two, and two are left for an upload."""
    asking.look(0)
    assert cluster.jobs == []
    asking.look(1)
    assert len(cluster.jobs) == 1
    asking.look(10)
    assert len(cluster.jobs) == 1, "it has just looked"
    clock.now += LOOK_EVERY_S
    asking.look(10)
    assert len(cluster.jobs) == 4
    assert instance.shown == [""] * 4


def test_one_that_has_connected_is_shown_with_its_host(asking, cluster, instance):
    asking.look(2)
    worker = join(asking, cluster.jobs[0])
    asking.look(2)
    assert instance.shown == ["gamma", ""]
    assert asking.idle == [worker]


def test_one_that_does_not_come_is_given_up(asking, cluster, instance, clock):
    """Its job would begin whenever there is room, and find nothing to do."""
    asking.look(1)
    clock.now += START_S + 1
    asking.look(1)
    assert cluster.stopped == cluster.jobs[:1]
    assert len(cluster.jobs) == 2


def test_none_is_asked_for_while_a_run_is_queued_and_idle_ones_leave(asking, cluster, instance, clock):
    asking.look(1)
    worker = join(asking, cluster.jobs[0])
    asking.look(1)
    assert asking.may_begin(worker)
    instance.queued = list(instance.running)
    assert not asking.may_begin(worker)
    clock.now += LOOK_EVERY_S
    asking.look(5)
    assert (len(cluster.jobs), asking.idle, worker.pipe.sent) == (1, [], [None])
    asking.look(5)
    assert instance.shown == []


def test_one_that_works_is_not_sent_away(asking, cluster, instance, clock):
    asking.look(1)
    worker = join(asking, cluster.jobs[0])
    asking.look(1)
    worker.step = "vod__web.subtask[p0_chunk_001]"
    clock.now += LOOK_EVERY_S
    asking.look(0)
    assert asking._workers.busy == [worker.step]
    assert worker.pipe.sent == []


def test_a_host_that_is_drained_is_given_nothing_more(asking, cluster, clock):
    asking.look(1)
    worker = join(asking, cluster.jobs[0])
    cluster.found = cluster.found[:1]
    clock.now += LOOK_EVERY_S
    asking.look(1)
    assert not asking.may_begin(worker)


def test_while_ray_does_not_answer_those_that_are_there_go_on(asking, cluster, clock):
    asking.look(1)
    worker = join(asking, cluster.jobs[0])
    cluster.is_down = True
    clock.now += LOOK_EVERY_S
    asking.look(1)
    assert asking.may_begin(worker)


def test_those_that_have_not_begun_end_with_the_run(asking, cluster):
    asking.look(2)
    join(asking, cluster.jobs[0])
    asking.look(2)
    asking.__exit__()
    assert cluster.stopped == cluster.jobs[1:]
