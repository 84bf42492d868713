"""How Ray's programs are started, and which hosts take runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mps_dagster.control import ray
from mps_dagster.control.code_version import code_version
from mps_dagster.settings import RaySettings, Settings

FOLDER = Path("/tmp/mps-ray-1")


@pytest.fixture
def settings(tmp_path) -> Settings:
    own = RaySettings(host="127.0.0.1", token="a token of twenty signs")
    return Settings(project=tmp_path, home=tmp_path, cluster="ray", host_name="alpha", ray=own)


def option(command: tuple[str, ...], name: str) -> str:
    return next(part.removeprefix(f"{name}=") for part in command if part.startswith(f"{name}="))


def test_the_head_takes_no_runs(settings):
    command = ray.head(settings, FOLDER)
    assert option(command, "--num-cpus") == "0"
    assert (option(command, "--port"), option(command, "--dashboard-host")) == ("6379", "127.0.0.1")


def test_a_worker_offers_its_cores_scratch_and_code(settings):
    command = ray.worker(settings, FOLDER, 8, 500)
    assert option(command, "--num-cpus") == "8"
    assert json.loads(option(command, "--resources")) == {"scratch_gb": 500, f"mps_code_{code_version()}": ray.MANY}
    assert (option(command, "--address"), option(command, "--node-name")) == ("127.0.0.1:6379", "alpha")
    assert option(command, "--node-ip-address") == "127.0.0.1"


def test_no_secret_is_on_a_command_line(settings):
    commands = ray.head(settings, FOLDER) + ray.worker(settings, FOLDER, 8, 500)
    assert "twenty" not in " ".join(commands)
    assert ray.environment(settings)["RAY_AUTH_TOKEN"] == "a token of twenty signs"


def test_a_job_may_wait_for_days_and_has_our_time_to_end(settings):
    """Ray's defaults are 15 minutes and 3 seconds."""
    environment = ray.environment(settings)
    assert float(environment["RAY_JOB_START_TIMEOUT_SECONDS"]) >= 86400
    assert float(environment["RAY_JOB_STOP_WAIT_TIME_S"]) > 10
    assert environment["RAY_AUTH_MODE"] == "token"
    assert environment["RAY_USAGE_STATS_ENABLED"] == "0"


def node(name: str, **facts) -> dict:
    offered = {"CPU": 4.0, "scratch_gb": 50.0, "mps_code_0.1.0-abc": 10000.0, "memory": 1.0}
    known = {"node_name": name, "node_id": f"id-{name}", "node_ip": "10.0.0.2", "is_head_node": False, "state": "ALIVE"}
    return {**known, "resources_total": offered, **facts}


def test_hosts_are_the_nodes_that_live_and_have_cores():
    nodes = [
        node("b"), node("a"), node("gone", state="DEAD"), node("head", is_head_node=True),
        node("other", resources_total={"memory": 1.0}),
    ]  # fmt: skip
    found = ray.hosts(nodes, {"b"})
    assert [(host.name, host.draining) for host in found] == [("a", False), ("b", True)]
    assert (found[0].cores, found[0].scratch_gb, found[0].code) == (4.0, 50.0, "0.1.0-abc")


def test_a_host_that_ray_was_started_on_by_hand_has_no_code_of_ours():
    [host] = ray.hosts([node("a", resources_total={"CPU": 2.0})], set())
    assert (host.code, host.scratch_gb) == ("", 0.0)


def test_a_dashboard_that_does_not_answer_is_said_with_its_address(settings):
    down = settings.model_copy(update={"ray": settings.ray.model_copy(update={"dashboard_port": 1})})
    with pytest.raises(ray.ClusterDown, match=r"127\.0\.0\.1:1.*does not answer") as raised:
        ray.Ray(down).hosts()
    assert "mps up" in raised.value.hint
