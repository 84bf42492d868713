"""What `mps doctor` finds."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from click.testing import CliRunner
from projects import VOD, make_project
from s3_servers import Answer, layered

from mps_dagster.cli.doctor import doctor
from mps_dagster.control.daemon_lock import daemon_lock
from mps_dagster.control.graphql import Dagster
from mps_dagster.control.health import examine
from mps_dagster.settings import S3Settings, Settings
from mps_dagster.storage.buckets import Buckets

pytestmark = pytest.mark.slow


@pytest.fixture
def examine_project(tmp_path, monkeypatch):
    def examine_project(text: str = VOD, **settings) -> dict[str, tuple[str, str]]:
        deployment = make_project(tmp_path, vod=text).model_copy(update={"ui_port": 9, **settings})
        (deployment.buckets_dir / "outputs").mkdir()
        monkeypatch.setenv("MPS_PROJECT", str(deployment.project))
        monkeypatch.setenv("MPS_HOME", str(deployment.home))
        monkeypatch.setenv("MPS_UI_PORT", "9")
        monkeypatch.delenv("MPS_TEST_MEDIA", raising=False)
        return {finding.what: (finding.state, finding.detail) for finding in examine(deployment)}

    return examine_project


def test_a_deployment_that_is_well(examine_project, tmp_path):
    """Each part by name; that nothing is running is no failure. No probe is left behind."""
    findings = examine_project()
    assert {what: state for what, (state, _) in findings.items() if what not in ("scratch", "API")} == {
        "project": "ok", "home": "ok", "ffmpeg": "ok", "database": "ok", "bucket inbox": "ok", "bucket outputs": "ok", "sink local:events": "ok",
        "dead letters": "ok", "Dagster": "warning", "daemon": "warning",
    }  # fmt: skip
    assert not [path for path in (tmp_path / "home" / "buckets").rglob("*") if path.is_file()]
    assert CliRunner().invoke(doctor).exit_code == 0


def test_the_daemon_that_works_on_the_records_is_named_and_a_second_one_is_a_fault(examine_project, tmp_path):
    """With a daemon that somebody started beside `mps up`, uploads may be processed twice."""
    with daemon_lock(Settings(project=tmp_path, home=tmp_path / "home")) as lock:
        state, detail = examine_project()["daemon"]
        assert (state, f"process {os.getpid()} on " in detail) == ("ok", True)
        lock.notice_other()
        found = examine(Settings(project=tmp_path / "project", home=tmp_path / "home"))
        [(state, detail)] = [(finding.state, finding.detail) for finding in found if finding.what == "daemon"]
    assert state == "failed"
    assert "another daemon" in detail


@pytest.mark.parametrize(
    ("text", "what", "says"),
    [
        (VOD.replace("bucket: inbox", "bucket: none"), "bucket none", "mkdir"),
        (VOD.replace("type: transcode", "type: transcod"), "workflows/vod.yaml", "there is no task type"),
        (VOD.replace("{type: local, queue: events}", "{type: url, url: 'http://127.0.0.1:9/'}"), "sink url:http://127.0.0.1:9/", "MPS_WEB__ALLOW"),
        (VOD.replace("{type: local, queue: events}", "{type: tdmq_cmq, queue: q}"), "sink tdmq_cmq:/queue/q", "MPS_CMQ__ENDPOINT_URL"),
    ],
    ids=["bucket", "workflow", "callback", "CMQ"],
)  # fmt: skip
def test_what_cannot_be_used_is_reported(examine_project, text, what, says):
    """With what mends it; the command fails."""
    state, detail = examine_project(text)[what]
    assert state == "failed"
    assert says in detail
    result = CliRunner().invoke(doctor)
    assert result.exit_code == 1


def broken(path: str, text: str = "") -> Callable[[Settings], None]:
    """Puts a file, or takes one away."""

    def broken(settings: Settings) -> None:
        (settings.project / path).write_text(text) if text else (settings.project / path).unlink()

    return broken


@pytest.mark.parametrize(
    ("spoil", "settings", "what", "says"),
    [
        (broken("dagster.yaml"), {}, "project", "dagster.yaml"),
        (broken("templates/own.yaml", "kind: none"), {}, "templates/own.yaml", "own.yaml"),
        (broken("templates/own.yaml", "{"), {}, "templates/own.yaml", "own.yaml"),
        (None, {"ffmpeg": Path("/bin/true")}, "ffmpeg", "/bin/true is not ffmpeg"),
        (None, {"home": Path("/proc/home")}, "home", "nothing can be written to /proc"),
    ],
    ids=["no dagster.yaml", "template", "no YAML", "another program", "no home"],
)
def test_what_is_broken_hides_nothing_else(tmp_path, spoil, settings, what, says):
    """Each is a finding; the others are there, too."""
    deployment = make_project(tmp_path).model_copy(update={"ui_port": 9, **settings})
    if spoil:
        spoil(deployment)
    findings = {finding.what: finding for finding in examine(deployment)}
    assert findings[what].state == "failed"
    assert says in findings[what].detail
    assert {"database", "Dagster", "API"} <= set(findings)


def test_a_check_that_fails_in_an_unforeseen_way_is_a_finding(examine_project, monkeypatch):
    """Such as boto3's own errors, of a client that cannot even be made."""
    monkeypatch.setattr(Buckets, "get", lambda *_: 1 / 0)
    assert examine_project()["bucket inbox"] == ("failed", "ZeroDivisionError: division by zero")


def test_a_misspelt_variable_is_reported(examine_project, monkeypatch):
    """Nothing else would: it is ignored."""
    monkeypatch.setenv("MPS_MAX_RUN", "3")
    assert examine_project()["settings"] == ("warning", "nothing reads MPS_MAX_RUN (is MPS_MAX_RUNS meant?)")


HEALTHY: dict[str, Any] = {
    "workspaceOrError": {"__typename": "Workspace", "locationEntries": [{"name": "mps_dagster", "locationOrLoadError": {"__typename": "RepositoryLocation"}}]},
    "instance": {"daemonHealth": {"allDaemonStatuses": [{"daemonType": "SENSOR", "required": True, "healthy": True, "lastHeartbeatErrors": []}]}},
}  # fmt: skip
UNLOADED = {"workspaceOrError": {"__typename": "Workspace", "locationEntries": [{"name": "mps_dagster", "locationOrLoadError": {"__typename": "PythonError", "message": "no module"}}]}}  # fmt: skip
ILL = {"instance": {"daemonHealth": {"allDaemonStatuses": [{"daemonType": "SENSOR", "required": True, "healthy": False, "lastHeartbeatErrors": []}]}}}  # fmt: skip


@pytest.mark.parametrize(
    ("info", "health", "state", "says"),
    [
        ('{"dagster_version": "1.13"}', HEALTHY, "ok", "version 1.13"),
        ('{"dagster_version": "1.13"}', HEALTHY | UNLOADED, "failed", "mps_dagster cannot be loaded: no module"),
        ('{"dagster_version": "1.13"}', HEALTHY | ILL, "failed", "daemon SENSOR is not well: it gives no sign of life"),
        ("<html>", HEALTHY, "failed", "is not Dagster"),
    ],
    ids=["well", "does not load", "daemon", "another server"],
)
def test_dagster_itself_is_asked_how_it_is(examine_project, monkeypatch, info, health, state, says):
    """That something answers is not enough."""
    reply = requests.Response()
    reply.status_code, reply._content = 200, info.encode()
    monkeypatch.setattr(requests, "get", lambda *_, **__: reply)
    monkeypatch.setattr(Dagster, "ask", lambda *_: health)
    finding = examine_project()["Dagster"]
    assert finding[0] == state
    assert says in finding[1]


def test_buckets_and_queues_of_aws_are_tried(examine_project, s3_server, monkeypatch):
    """By the very calls that the service makes."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    s3_server.s3.create_bucket(Bucket="examined")
    s3_server.sqs.create_queue(QueueName="examined")
    trigger = "{bucket: 's3://examined', dir: /in/, queue: examined, queue_region: us-east-1}"
    findings = examine_project(
        VOD.replace("{bucket: inbox, dir: /in/}", trigger).replace("{type: local, queue: events}", "{type: aws_sqs, queue: missing, region: us-east-1}"),
        s3=s3_server.settings, sqs_endpoint_url=s3_server.settings.endpoint_url,
    )  # fmt: skip
    assert findings["bucket s3://examined"][0] == findings["queue examined"][0] == "ok"
    assert findings["sink aws_sqs:us-east-1/missing"][0] == "failed"


def test_an_s3_that_is_not_set_up_is_reported(examine_project):
    """As any other finding."""
    findings = examine_project(
        VOD.replace("bucket: inbox", "bucket: 's3://media'"), s3=S3Settings(endpoint_url="s3.local")
    )
    assert findings["bucket s3://media"][0] == "failed"
    assert "http://" in findings["bucket s3://media"][1]


def test_a_bucket_in_which_nothing_may_be_deleted_is_well(examine_project, s3_server):
    """Nothing but the probe ever is; it is one object, however often it is left behind."""
    refused = Answer("403 Forbidden", "AccessDenied")
    s3_server.s3.create_bucket(Bucket="kept")
    text = VOD.replace("{bucket: outputs, dir: /vod/}", "{bucket: 's3://kept'}")
    with layered(lambda environ: refused if environ["REQUEST_METHOD"] == "DELETE" else None) as address:
        s3 = s3_server.settings.model_copy(update={"endpoint_url": address})
        state, detail = examine_project(text, s3=s3)["bucket s3://kept"]
    assert (state, "_mps/probe stays" in detail) == ("ok", True)
    assert [item["Key"] for item in s3_server.s3.list_objects(Bucket="kept")["Contents"]] == ["_mps/probe"]


def test_an_output_folder_that_is_not_there_yet_is_no_failure(examine_project):
    """The first output makes it; also one that a single output names."""
    text = VOD.replace("{name: small, ", "{name: small, output_bucket: elsewhere, ").replace(", dir: /vod/}", "}")
    findings = examine_project(text.replace("bucket: outputs", "bucket: later"))
    for name in ("later", "elsewhere"):
        assert findings[f"bucket {name}"][0] == "ok"
        assert "the first output makes" in findings[f"bucket {name}"][1]
