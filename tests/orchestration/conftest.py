"""A project, its definitions, and a Dagster instance of its own."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest
from projects import make_project

from mps_dagster.control.uploads import LIMITS, Limits
from mps_dagster.orchestration.build import build_definitions
from mps_dagster.orchestration.resources import resources
from mps_dagster.orchestration.upload_sensor import upload_sensors
from mps_dagster.storage.buckets import Buckets
from mps_dagster.workflow.naming import job_name, partition_key, sensor_name, uploads_name
from mps_dagster.workflow.project import Project


@pytest.fixture(scope="session")
def no_records(tmp_path_factory) -> Path:
    """The folder of an instance that has just been made: to make its tables takes longer than most tests."""
    folder = tmp_path_factory.mktemp("instance")
    with dg.DagsterInstance.local_temp(str(folder)) as instance:
        instance.get_runs(limit=1)
    return folder


@pytest.fixture
def instance(tmp_path, no_records) -> Iterator[dg.DagsterInstance]:
    shutil.copytree(no_records, tmp_path / "instance")
    with dg.DagsterInstance.local_temp(str(tmp_path / "instance")) as instance:
        yield instance


@pytest.fixture
def house(tmp_path, instance):
    """Settings, definitions, buckets, and functions that upload into the inbox, run a workflow and tick a sensor."""
    settings = make_project(tmp_path)
    return furnished(settings, instance)


def furnished(settings, instance) -> SimpleNamespace:
    defs = build_definitions(settings)
    buckets = Buckets(settings)

    def upload(path: Path, key: str) -> None:
        buckets.get("inbox").publish(path, key)

    def run(key: str, workflow: str = "vod") -> dg.ExecuteInProcessResult:
        partition = partition_key(key)
        instance.add_dynamic_partitions(uploads_name(workflow), [partition])
        job = defs.resolve_job_def(workflow)
        return job.execute_in_process(partition_key=partition, instance=instance, raise_on_error=False)

    def sensor(name: str) -> dg.SensorDefinition:
        return next(sensor for sensor in defs.get_repository_def().sensor_defs if sensor.name == name)

    def context(name: str, cursor: str | None = None):
        return dg.build_sensor_context(
            instance=instance, cursor=cursor, definitions=defs, resources=resources(settings), sensor_name=name
        )

    def tick(name: str, cursor: str | None = None):
        with context(name, cursor) as opened:
            return sensor(name)(opened)

    return SimpleNamespace(
        settings=settings, defs=defs, buckets=buckets, instance=instance, upload=upload, run=run, sensor=sensor, tick=tick,
        context=context,
    )  # fmt: skip


class Daemon:
    """What Dagster's daemon does with a sensor's answers: it keeps the cursor, and a run key gets one run."""

    def __init__(self, house: SimpleNamespace, workflow: str = "vod", limits: Limits = LIMITS) -> None:
        """Of the sensor of the workflow's bucket."""
        self.house, workflows = house, Project.load(house.settings).workflows
        self.name = sensor_name(next(flow.trigger.bucket for flow in workflows if flow.name == workflow))
        jobs = {flow.name: house.defs.resolve_job_def(job_name(flow.name)) for flow in workflows}
        sensors = upload_sensors(house.settings, workflows, jobs, limits)
        self.sensor = next(sensor for sensor in sensors if sensor.name == self.name)
        self.cursor: str | None = None
        self.answer: dg.SensorResult

    def tick(self, *, dies: bool = False, queue_fails: bool = False) -> list[str]:
        """Object keys whose runs got into the queue in this tick. A daemon that dies has done nothing yet."""
        with self.house.context(self.name, self.cursor) as context:
            self.answer = self.sensor(context)
        if dies:
            return []
        self.cursor = self.answer.cursor
        launched = [request for request in self.answer.run_requests or () if self._launch(request, queue_fails)]
        return [request.tags["mps/key"] for request in launched]

    def _launch(self, request: dg.RunRequest, queue_fails: bool) -> bool:
        instance = self.house.instance
        marks = {"dagster/run_key": request.run_key, "dagster/sensor_name": self.name}
        run = next(iter(instance.get_runs(dg.RunsFilter(tags=marks))), None)
        if run is None:
            run = dg.DagsterRun(job_name=request.job_name, run_id=str(uuid.uuid4()), tags={**request.tags, **marks})
            instance.add_run(run)
        if run.status is not dg.DagsterRunStatus.NOT_STARTED or queue_fails:
            return False
        instance.report_dagster_event(dg.DagsterEvent("PIPELINE_STARTING", run.job_name), run.run_id)
        return True
