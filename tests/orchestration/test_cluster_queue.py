"""A run leaves the queue of a cluster when a host has room, and takes with it what it asks for."""

from __future__ import annotations

import dagster as dg
import pytest
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from projects import make_project, use_project

from mps_dagster.control import tags
from mps_dagster.control.code_version import code_version
from mps_dagster.control.ray import ClusterDown, Host
from mps_dagster.errors import SourceNotAccessible
from mps_dagster.orchestration.cluster_queue import ClusterQueue
from mps_dagster.orchestration.placement import Demand
from mps_dagster.orchestration.wakes import Wakes
from mps_dagster.settings import RaySettings
from mps_dagster.workflow.naming import BACKFILL

GB = 2**30
QUEUED, STARTED = dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTED
HOSTS = [Host(name, f"id-{name}", "10.0.0.2", 4.0, 100.0, code_version()) for name in ("a", "b")]


@pytest.fixture
def settings(tmp_path, monkeypatch):
    limits = {"MPS_MAX_RUNS": "100", "MPS_MAX_BACKFILL_RUNS": "100", "MPS_MAX_ACCOUNT_RUNS": "2"}
    made = use_project(make_project(tmp_path), monkeypatch, **limits)
    return made.model_copy(update={"cluster": "ray", "ray": RaySettings(run_cores=4)})


@pytest.fixture
def instance(settings):
    with dg.DagsterInstance.get() as instance:
        yield instance


class Queue(ClusterQueue):
    """Over hosts and sizes of sources that a test names."""

    def __init__(self, settings, hosts: list[Host] | None = None, **sizes: int) -> None:
        super().__init__(Wakes(), settings)
        self._ray = self
        self._found, self._sizes = HOSTS if hosts is None else hosts, sizes
        self._size_of = self._size
        self.down = False

    def hosts(self) -> list[Host]:
        if self.down:
            raise ClusterDown("it does not answer")
        return self._found

    def _size(self, run_id: str, bucket: str, key: str) -> int:
        if key not in self._sizes:
            raise SourceNotAccessible("it is gone")
        return self._sizes[key]

    def started(self, instance) -> list[str]:
        runs = self._get_runs_to_dequeue(instance, instance.get_concurrency_config(), None)
        return [run.tags.get(tags.KEY, run.job_name) for run in runs]


def add(instance, key: str, *, status=QUEUED, job: str = "vod", **run_tags: str) -> str:
    @dg.job(name=job)
    def made(): ...

    named = {getattr(tags, name): value for name, value in run_tags.items()}
    own = {tags.KEY: key, **named} if key else named
    # Dagster queues only runs whose code it can find again.
    server = GrpcServerCodeLocationOrigin("127.0.0.1", 1, location_name="mps_dagster")
    origin = RemoteJobOrigin(RemoteRepositoryOrigin(server, "__repository__"), job)
    return instance.create_run_for_job(made, tags=own, status=status, remote_job_origin=origin).run_id


def test_a_run_takes_with_it_what_its_source_needs(settings, instance):
    big, small = add(instance, "big"), add(instance, "small")
    assert Queue(settings, big=3 * GB, small=1).started(instance) == ["big", "small"]
    asked = [Demand.of_tag(instance.get_run_by_id(run).tags[tags.DEMAND]) for run in (big, small)]
    assert asked == [Demand(4, 12), Demand(1, 1)]


def test_what_runs_takes_room(settings, instance):
    for name in ("a", "b"):
        add(instance, name, status=STARTED, DEMAND=Demand(4, 1).as_tag(), HOST=name)
    add(instance, "next")
    assert Queue(settings, next=1).started(instance) == []
    more = [*HOSTS, Host("c", "id-c", "10.0.0.4", 1.0, 10.0, code_version())]
    assert Queue(settings, more, next=1).started(instance) == ["next"]


def test_workers_of_a_run_on_other_hosts_take_room(settings, instance):
    add(instance, "film", status=STARTED, DEMAND=Demand(4, 1).as_tag(), HOST="a", ALSO_ON='["b"]')
    add(instance, "next")
    assert Queue(settings, next=GB).started(instance) == [], "three of four cores of b are left"


def test_priority_is_over_all_hosts_and_backfills_come_last(settings, instance):
    add(instance, "backfill", BACKFILL="b", PRIORITY="9")
    add(instance, "first")
    add(instance, "urgent", PRIORITY="5")
    queue = Queue(settings, first=GB, urgent=GB, backfill=GB)
    assert queue.started(instance) == ["urgent", "first"]


def test_a_host_that_is_free_gets_the_most_urgent_run(settings, instance):
    """And the others wait, however long they have been in the queue."""
    add(instance, "runs", status=STARTED, DEMAND=Demand(4, 1).as_tag(), HOST="a")
    add(instance, "low", PRIORITY="-5")
    add(instance, "urgent", PRIORITY="9")
    assert Queue(settings, low=GB, urgent=GB).started(instance) == ["urgent"]


def test_an_account_has_its_share(settings, instance):
    for name in ("1", "2", "3"):
        add(instance, name, ACCOUNT="mine")
    add(instance, "other", ACCOUNT="other")
    assert Queue(settings, **dict.fromkeys(("1", "2", "3", "other"), 1)).started(instance) == ["1", "2", "other"]


def test_a_source_that_is_gone_is_reported_by_its_run(settings, instance):
    add(instance, "gone")
    assert Queue(settings).started(instance) == ["gone"]


def test_nothing_but_the_control_hosts_own_jobs_is_started_while_ray_does_not_answer(settings, instance):
    add(instance, "upload")
    add(instance, "", job=BACKFILL)
    queue = Queue(settings, upload=1)
    queue.down = True
    assert queue.started(instance) == [BACKFILL]
    queue.down = False
    assert sorted(queue.started(instance)) == [BACKFILL, "upload"]


def test_a_retry_asks_anew(settings, instance):
    """Its predecessor's tags may name a host that is gone, and other code."""
    demand = '{"num_cpus": 64, "resources": {"scratch_gb": 1}}'
    run = add(instance, "again", DEMAND=demand, HOST="gone", ALSO_ON='["a", "b"]')
    assert Queue(settings, again=1).started(instance) == ["again"]
    after = instance.get_run_by_id(run).tags
    assert (Demand.of_tag(after[tags.DEMAND]), after[tags.HOST], after[tags.ALSO_ON]) == (Demand(1, 1), "", "[]")
