"""What hosts of a cluster must have in common is checked before they start."""

from __future__ import annotations

import pytest
from projects import VOD, make_project

from mps_dagster.control import cluster
from mps_dagster.control.code_version import code_version
from mps_dagster.errors import InvalidConfiguration
from mps_dagster.settings import RaySettings, Settings
from mps_dagster.storage.buckets import Buckets
from mps_dagster.storage.memory import MemoryBucket

WHOLE = Settings(
    cluster="ray", database_url="postgresql://mps:secret@db:5432/mps", shared_bucket="s3://shared",
    ray=RaySettings(host="10.0.0.1", token="a token of twenty signs"),
)  # fmt: skip


@pytest.fixture
def shared(monkeypatch) -> MemoryBucket:
    bucket = MemoryBucket("s3://shared")
    monkeypatch.setattr(cluster, "shared_bucket", lambda _: bucket)
    return bucket


def test_whole_settings_are_taken():
    cluster.check_settings(WHOLE)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"database_url": None}, "MPS_DATABASE_URL"),
        ({"shared_bucket": ""}, "MPS_SHARED_BUCKET"),
        ({"ray": RaySettings(host="10.0.0.1")}, "MPS_RAY__TOKEN"),
        ({"ray": RaySettings(host="10.0.0.1", token="short")}, "20 characters"),
        ({"ray": RaySettings(token="a token of twenty signs")}, "MPS_RAY__HOST"),
    ],
)
def test_what_is_missing_is_named(change, words):
    with pytest.raises(InvalidConfiguration, match=words):
        cluster.check_settings(WHOLE.model_copy(update=change))


def test_a_workflow_on_a_local_bucket_is_refused_with_its_name(tmp_path):
    settings = make_project(tmp_path, vod=VOD).model_copy(update={"cluster": "ray"})
    with pytest.raises(InvalidConfiguration, match=r"inbox \(workflow vod\), outputs \(workflow vod\)"):
        cluster.check_buckets(settings)


def test_any_other_use_of_a_local_bucket_is_refused(tmp_path):
    """An API call names its buckets itself."""
    settings = make_project(tmp_path).model_copy(update={"cluster": "ray"})
    with pytest.raises(InvalidConfiguration, match="only this host has it"):
        Buckets(settings).get("uploads")


def test_a_host_joins_with_the_control_hosts_dagster_yaml(tmp_path, shared):
    settings = make_project(tmp_path)
    cluster.announce(settings)
    control = cluster.control_host(settings)
    assert control.code == code_version()
    assert control.dagster_yaml == (settings.project / "dagster.yaml").read_text()


def test_a_host_with_other_code_does_not_join(tmp_path, shared):
    settings = make_project(tmp_path)
    other = cluster.ControlHost(code="0.0.9-0123456789", dagster_yaml="")
    shared.write(cluster.KEY, other.model_dump_json().encode())
    with pytest.raises(InvalidConfiguration, match=r"control host 0\.0\.9-0123456789"):
        cluster.control_host(settings)


def test_a_host_does_not_join_before_the_control_host_is_up(tmp_path, shared):
    with pytest.raises(InvalidConfiguration) as raised:
        cluster.control_host(WHOLE)
    assert "start `mps up` there first" in raised.value.hint
