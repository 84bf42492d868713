"""The files for other engines are valid, and what they start is what the pages say. No cluster is asked."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import dagster as dg
import pytest
import yaml
from dagster._core.launcher import RunLauncher
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._serdes import ConfigurableClassData
from kubernetes import client, config
from moto import mock_aws

from mps_dagster.orchestration import internals

DEPLOY = Path(__file__).parent.parent / "deploy"
KINDS = {
    "ServiceAccount": "V1ServiceAccount", "Role": "V1Role", "RoleBinding": "V1RoleBinding", "ConfigMap": "V1ConfigMap",
    "Deployment": "V1Deployment", "Service": "V1Service",
}  # fmt: skip
RUN_ID = "8b3a8de0-e212-4bc9-a9af-1f341f9192d4"


@pytest.fixture
def instance(tmp_path):
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}")
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        yield instance


@pytest.fixture
def run(instance) -> dg.DagsterRun:
    @dg.job
    def vod(): ...

    pointer = internals.ModuleCodePointer("mps_dagster.definitions", "defs")
    origin = JobPythonOrigin("vod", RepositoryPythonOrigin(sys.executable, pointer))
    return instance.create_run_for_job(vod, run_id=RUN_ID, job_code_origin=origin)


def launcher_of(engine: str, instance: dg.DagsterInstance) -> Any:
    """As an instance makes it from dagster.yaml; a wrong setting is an error here."""
    block = yaml.safe_load((DEPLOY / engine / "run-launcher.yaml").read_text())["run_launcher"]
    data = ConfigurableClassData(block["module"], block["class"], yaml.safe_dump(block["config"]))
    launcher = data.rehydrate(as_type=RunLauncher)
    launcher.register_instance(instance)
    return launcher


@pytest.fixture
def job(instance, run, monkeypatch) -> client.V1Job:
    """The Kubernetes job of a run, as it would be sent."""
    created = []
    monkeypatch.setattr(config, "load_incluster_config", lambda: None)
    launcher = launcher_of("kubernetes", instance)
    monkeypatch.setattr(
        launcher._api_client, "create_namespaced_job_with_retries", lambda body, namespace: created.append(body)
    )
    launcher.launch_run(internals.LaunchRunContext(dagster_run=run, workspace=None))
    return created[0]


def test_a_run_on_kubernetes_has_scratch_cores_and_time_to_end(job):
    pod = job.spec.template.spec
    [container] = pod.containers
    assert (pod.termination_grace_period_seconds, pod.service_account_name) == (30, "mps")
    assert container.resources.requests == {"cpu": "2", "memory": "4Gi", "ephemeral-storage": "20Gi"}
    assert {mount.name: mount.mount_path for mount in container.volume_mounts}["scratch"] == "/scratch"
    [scratch] = [volume for volume in pod.volumes if volume.name == "scratch"]
    assert scratch.empty_dir.size_limit == "60Gi"
    environment = {each.name: each.value for each in container.env}
    assert environment["MPS_CORES"] == "2"
    assert job.spec.backoff_limit == 0, "Dagster retries runs, and says so in the event"


def test_a_run_on_kubernetes_gets_settings_and_secrets_by_name(job):
    [container] = job.spec.template.spec.containers
    assert {each.config_map_ref.name for each in container.env_from if each.config_map_ref} == {"mps-settings"}
    assert {each.secret_ref.name for each in container.env_from if each.secret_ref} == {"mps-secrets"}
    assert RUN_ID in " ".join(container.args)


def manifests() -> list[dict]:
    return [item for item in yaml.safe_load_all((DEPLOY / "kubernetes" / "control.yaml").read_text()) if item]


@pytest.mark.parametrize("manifest", manifests(), ids=lambda manifest: manifest["kind"])
def test_the_manifests_have_only_members_that_kubernetes_knows(manifest):
    """Read into the client's models and written again, nothing is lost."""
    api = client.ApiClient(client.Configuration())
    model = api.deserialize(SimpleNamespace(data=json.dumps(manifest)), KINDS[manifest["kind"]])
    assert api.sanitize_for_serialization(model) == manifest


def test_the_settings_of_the_control_pod_are_ours():
    """One that nothing reads would be noticed by nobody."""
    from mps_dagster.settings import unknown_variables

    [settings] = [item for item in manifests() if item["kind"] == "ConfigMap"]
    assert unknown_variables(settings["data"]) == []
    assert settings["data"]["MPS_CLUSTER"] == "other"


def test_a_run_on_ecs_is_a_task_with_our_container(instance, run, monkeypatch):
    """Against moto's ECS, which runs nothing."""
    with mock_aws():
        ecs, ec2 = boto3.client("ecs", region_name="us-east-1"), boto3.resource("ec2", region_name="us-east-1")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        ecs.create_cluster(clusterName="media")
        image = {"name": "mps", "image": "registry.example.com/mps:1", "memory": 8192, "cpu": 2048}
        ecs.register_task_definition(
            family="mps-run", containerDefinitions=[image], networkMode="awsvpc", cpu="2048", memory="8192",
            requiresCompatibilities=["FARGATE"],
        )  # fmt: skip
        subnet = next(iter(ec2.subnets.all())).id
        launcher = launcher_of("ecs", instance)
        started = []
        monkeypatch.setattr(
            launcher.ecs, "run_task", lambda **task: started.append(task) or {"tasks": [], "failures": []}
        )
        launcher.run_task_kwargs["networkConfiguration"]["awsvpcConfiguration"]["subnets"] = [subnet]
        with pytest.raises(Exception, match="Task failed"):
            launcher.launch_run(internals.LaunchRunContext(dagster_run=run, workspace=None))
        [task] = started
        assert (task["cluster"], task["launchType"]) == ("media", "FARGATE")
        [override] = task["overrides"]["containerOverrides"]
        assert override["name"] == "mps"
        assert RUN_ID in " ".join(override["command"])
        assert task["overrides"]["cpu"] == "2048"
