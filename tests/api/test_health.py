"""What `mps doctor` finds."""

from __future__ import annotations

import pytest
from click.testing import CliRunner
from projects import VOD, make_project
from s3_servers import Answer, layered

from mps_dagster.api.health import examine
from mps_dagster.cli.doctor import doctor
from mps_dagster.settings import S3Settings


@pytest.fixture
def found(tmp_path, monkeypatch):
    def found(text: str = VOD, **settings) -> dict[str, tuple[str, str]]:
        made = make_project(tmp_path, vod=text).model_copy(update={"ui_port": 9, **settings})
        (made.buckets_dir / "outputs").mkdir()
        monkeypatch.setenv("MPS_PROJECT", str(made.project))
        monkeypatch.setenv("MPS_HOME", str(made.home))
        monkeypatch.setenv("MPS_UI_PORT", "9")
        return {finding.what: (finding.state, finding.detail) for finding in examine(made)}

    return found


def test_a_deployment_that_is_well(found, tmp_path):
    """Each part by name; that nothing is running is no failure. No probe is left behind."""
    findings = found()
    assert {what: state for what, (state, _) in findings.items() if what not in ("scratch", "API")} == {
        "ffmpeg": "ok", "database": "ok", "bucket inbox": "ok", "bucket outputs": "ok", "sink local:events": "ok",
        "put aside": "ok", "Dagster": "warning",
    }  # fmt: skip
    assert not [path for path in (tmp_path / "home" / "buckets").rglob("*") if path.is_file()]
    assert CliRunner().invoke(doctor).exit_code == 0


@pytest.mark.parametrize(
    ("text", "what", "says"),
    [
        (VOD.replace("bucket: inbox", "bucket: none"), "bucket none", "mkdir"),
        (VOD.replace("type: transcode", "type: transcod"), "workflow vod.yaml", "there is no task type"),
        (VOD.replace("{type: local, queue: events}", "{type: url, url: 'http://127.0.0.1:9/'}"), "sink url:http://127.0.0.1:9/", "cannot be reached"),
        (VOD.replace("{type: local, queue: events}", "{type: tdmq_cmq, queue: q}"), "sink tdmq_cmq:/queue/q", "MPS_CMQ__ENDPOINT_URL"),
    ],
    ids=["bucket", "workflow", "callback", "CMQ"],
)  # fmt: skip
def test_what_cannot_be_used_is_told(found, text, what, says):
    """With what mends it; the command fails."""
    state, detail = found(text)[what]
    assert state == "failed"
    assert says in detail
    result = CliRunner().invoke(doctor)
    assert result.exit_code == 1


def test_buckets_and_queues_of_aws_are_tried(found, s3_server, monkeypatch):
    """By the very calls that the service makes."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    s3_server.s3.create_bucket(Bucket="examined")
    s3_server.sqs.create_queue(QueueName="examined")
    trigger = "{bucket: 's3://examined', dir: /in/, queue: examined, queue_region: us-east-1}"
    findings = found(
        VOD.replace("{bucket: inbox, dir: /in/}", trigger).replace("{type: local, queue: events}", "{type: aws_sqs, queue: missing, region: us-east-1}"),
        s3=s3_server.settings, sqs_endpoint_url=s3_server.settings.endpoint_url,
    )  # fmt: skip
    assert findings["bucket s3://examined"][0] == findings["queue examined"][0] == "ok"
    assert findings["sink aws_sqs:us-east-1/missing"][0] == "failed"


def test_an_s3_that_is_not_set_up_is_told(found):
    """As any other finding."""
    findings = found(VOD.replace("bucket: inbox", "bucket: 's3://media'"), s3=S3Settings(endpoint_url="s3.local"))
    assert findings["bucket s3://media"][0] == "failed"
    assert "http://" in findings["bucket s3://media"][1]


def test_a_bucket_in_which_nothing_may_be_deleted_is_well(found, s3_server):
    """Nothing but the probe ever is; it is one object, however often it is left behind."""
    refused = Answer("403 Forbidden", "AccessDenied")
    s3_server.s3.create_bucket(Bucket="kept")
    text = VOD.replace("{bucket: outputs, dir: /vod/}", "{bucket: 's3://kept'}")
    with layered(lambda environ: refused if environ["REQUEST_METHOD"] == "DELETE" else None) as address:
        s3 = s3_server.settings.model_copy(update={"endpoint_url": address})
        state, detail = found(text, s3=s3)["bucket s3://kept"]
    assert (state, "_mps/probe stays" in detail) == ("ok", True)
    assert [item["Key"] for item in s3_server.s3.list_objects(Bucket="kept")["Contents"]] == ["_mps/probe"]


def test_an_output_folder_that_is_not_there_yet_is_no_failure(found):
    """The first output makes it; also one that a single output names."""
    text = VOD.replace("{name: small, ", "{name: small, output_bucket: elsewhere, ").replace(", dir: /vod/}", "}")
    findings = found(text.replace("bucket: outputs", "bucket: later"))
    for name in ("later", "elsewhere"):
        assert findings[f"bucket {name}"][0] == "ok"
        assert "the first output makes" in findings[f"bucket {name}"][1]
