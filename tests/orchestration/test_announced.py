"""The upload sensor with a queue in which the bucket announces uploads, against real servers over HTTP."""

from __future__ import annotations

import itertools
import json
import threading
import time
import uuid
from datetime import UTC, datetime
from types import SimpleNamespace

import dagster as dg
import moto.s3.models
import pytest
from projects import VOD, make_project
from s3_servers import CUT, Answer, Environ, layered

from mps_dagster.control.scopes import Cursor
from mps_dagster.control.uploads import LIMITS, Limits
from mps_dagster.storage import s3

from .conftest import Daemon, furnished


def record(bucket: str, key: str, event: str = "ObjectCreated:Put") -> str:
    return json.dumps({"Records": [{"eventName": event, "s3": {"bucket": {"name": bucket}, "object": {"key": key}}}]})


@pytest.fixture
def announced(tmp_path, instance, s3_server, monkeypatch):
    """A workflow on an S3 bucket that announces uploads in an SQS queue, and verbs to put and announce."""
    name = f"media-{uuid.uuid4().hex[:8]}"
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(variable, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3_server.s3.create_bucket(Bucket=name)
    queue = s3_server.sqs.create_queue(QueueName=name)["QueueUrl"]

    def workflow(limits: Limits = LIMITS, **trigger) -> Daemon:
        text = VOD.replace(
            "{bucket: inbox, dir: /in/}",
            json.dumps({"bucket": f"s3://{name}", "dir": "/in/", "queue": name, **trigger}),
        )
        s3 = s3_server.settings.model_copy(update={"endpoint_url": world.endpoint})
        settings = make_project(tmp_path, vod=text).model_copy(
            update={"s3": s3, "sqs_endpoint_url": world.sqs_endpoint}
        )
        return Daemon(furnished(settings, instance), limits=limits)

    def waiting() -> int:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        attributes = s3_server.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=names)["Attributes"]
        return sum(int(value) for value in attributes.values())

    world = SimpleNamespace(
        name=name, endpoint=s3_server.settings.endpoint_url, sqs_endpoint=s3_server.settings.endpoint_url, workflow=workflow, waiting=waiting,
        upload=lambda key, content=b"x": s3_server.s3.put_object(Bucket=name, Key=key, Body=content),
        delete=lambda key: s3_server.s3.delete_object(Bucket=name, Key=key),
        announce=lambda key, **more: s3_server.sqs.send_message(QueueUrl=queue, MessageBody=record(name, key, **more)),
        send=lambda body: s3_server.sqs.send_message(QueueUrl=queue, MessageBody=body),
        drop_queue=lambda: s3_server.sqs.delete_queue(QueueUrl=queue),
    )  # fmt: skip
    return world


@pytest.fixture
def faults(announced, monkeypatch):
    """What a test makes of the requests to the bucket; the queue stays well."""
    # botocore waits up to 2 s between its attempts.
    monkeypatch.setattr(time, "sleep", lambda _: None)
    faults = SimpleNamespace(fault=lambda _: None)
    with layered(lambda environ: faults.fault(environ)) as announced.endpoint:
        yield faults


def looks(environ: Environ) -> bool:
    return environ["REQUEST_METHOD"] == "HEAD"


def asks_bucket(environ: Environ) -> bool:
    return looks(environ) or environ["REQUEST_METHOD"] == "GET"


def test_an_announced_upload_gets_a_run_and_its_message_goes_afterwards(announced):
    """Only once the run is recorded; until then the message stays."""
    daemon = announced.workflow(listing=False)
    announced.upload("in/a.mp4")
    announced.announce("in/a.mp4")
    assert daemon.tick() == ["in/a.mp4"]
    assert announced.waiting() == 1
    assert daemon.tick() == []
    assert announced.waiting() == 0


def test_a_message_whose_run_was_never_made_is_not_deleted(announced):
    """The daemon died in between."""
    daemon = announced.workflow(listing=False)
    announced.upload("in/a.mp4")
    announced.announce("in/a.mp4")
    daemon.tick(dies=True)
    daemon.tick()
    assert announced.waiting() == 1


def test_announced_twice_late_and_out_of_order_is_one_run_of_what_is_there(announced):
    """The content of the bucket counts."""
    daemon = announced.workflow(listing=False)
    announced.upload("in/a.mp4", b"old")
    announced.upload("in/a.mp4", b"new")
    for _ in range(3):
        announced.announce("in/a.mp4")
    assert daemon.tick() == ["in/a.mp4"]
    announced.announce("in/a.mp4")
    assert [daemon.tick() for _ in range(2)] == [[], []]
    assert announced.waiting() == 0


def test_content_that_was_there_before_is_an_upload_again(announced, monkeypatch):
    """A first version put back, or an object that was deleted and uploaded once more: its outputs may be another's by now."""
    daemon = announced.workflow(listing=False)
    clock = itertools.count(1_800_000_000)
    monkeypatch.setattr(moto.s3.models, "utcnow", lambda: datetime.fromtimestamp(next(clock), UTC).replace(tzinfo=None))
    for content in (b"first", b"second", b"first"):
        announced.upload("in/a.mp4", content)
        announced.announce("in/a.mp4")
        assert [daemon.tick(), daemon.tick()] == [["in/a.mp4"], []]
    announced.delete("in/a.mp4")
    announced.upload("in/a.mp4", b"first")
    announced.announce("in/a.mp4")
    assert daemon.tick() == ["in/a.mp4"]


def test_an_upload_that_is_replaced_before_it_is_read_is_processed_as_what_it_is_now(announced, clips):
    """The run of the announced content fails and says why, and the new content gets its own."""
    daemon = announced.workflow(list_every_s=0)
    announced.upload("in/a.mp4", b"announced")
    announced.announce("in/a.mp4")
    assert daemon.tick() == ["in/a.mp4"]
    announced.upload("in/a.mp4", clips.video().read_bytes())
    failed = run_as_asked(daemon)
    assert not failed.success
    [failure] = [event.step_failure_data for event in failed.all_events if event.is_step_failure]
    assert "no longer the object that was announced" in failure.user_failure_data.description
    assert failure.user_failure_data.metadata["code"].value == "SourceFileError.DownloadNotAccessible"
    assert daemon.tick() == ["in/a.mp4"]
    assert run_as_asked(daemon).success


def run_as_asked(daemon: Daemon) -> dg.ExecuteInProcessResult:
    """The last tick's only run."""
    [request], house = daemon.answer.run_requests, daemon.house
    house.instance.add_dynamic_partitions("vod_uploads", [request.partition_key])
    return house.defs.resolve_job_def("vod").execute_in_process(
        partition_key=request.partition_key,
        run_config=request.run_config,
        instance=house.instance,
        raise_on_error=False,
    )


def test_both_ways_together_make_one_run(announced):
    """In one look, or one after the other."""
    daemon = announced.workflow(list_every_s=0)
    for number in range(5):
        announced.upload(f"in/{number}.mp4")
        announced.announce(f"in/{number}.mp4")
    announced.upload("in/not announced.mp4")
    assert sorted(daemon.tick()) == [*(f"in/{number}.mp4" for number in range(5)), "in/not announced.mp4"]
    announced.announce("in/not announced.mp4")
    assert [daemon.tick() for _ in range(2)] == [[], []]
    assert announced.waiting() == 0


@pytest.mark.parametrize("body", ["hello", "[" * 150_000])
def test_a_message_that_cannot_be_read_becomes_a_dead_letter_and_is_reported(announced, body):
    """And the others are read."""
    daemon = announced.workflow(listing=False)
    announced.upload("in/a.mp4")
    announced.send(body)
    announced.announce("in/a.mp4")
    assert daemon.tick() == ["in/a.mp4"]
    [path] = (daemon.house.settings.dead_letters_dir / "vod").iterdir()
    assert json.loads(path.read_text())["body"] == body
    daemon.tick()
    assert announced.waiting() == 0
    announced.send("again")
    daemon.tick()
    assert "again" in daemon.answer.skip_reason.skip_message


def test_a_queue_that_is_gone_does_not_keep_the_sweep_from_finding_uploads(announced):
    """And is reported by a failed tick if there is nothing else to report."""
    daemon = announced.workflow(list_every_s=3600)
    announced.drop_queue()
    announced.upload("in/a.mp4")
    assert daemon.tick() == ["in/a.mp4"]
    with pytest.raises(dg.Failure, match="cannot receive message of queue"):
        daemon.tick()


def test_a_queue_that_refuses_our_credentials_does_not_keep_the_sweep_from_finding_uploads(announced):
    """And the tick says what to check."""
    refusal = Answer("403 Forbidden", body=b'{"__type": "com.amazonaws.sqs#InvalidClientTokenId", "message": "no"}')
    with layered(lambda _: refusal) as announced.sqs_endpoint:
        daemon = announced.workflow(list_every_s=3600)
        announced.upload("in/a.mp4")
        assert daemon.tick() == ["in/a.mp4"]
        with pytest.raises(dg.Failure, match="permissions"):
            daemon.tick()


def test_a_queue_without_a_region_does_not_keep_the_sweep_from_finding_uploads(announced, monkeypatch):
    """And the tick says what to set."""
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/none")
    daemon = announced.workflow(list_every_s=3600)
    announced.upload("in/a.mp4")
    assert daemon.tick() == ["in/a.mp4"]
    with pytest.raises(dg.Failure, match="queue_region"):
        daemon.tick()


def test_with_a_queue_the_sweep_is_made_once_an_hour(announced):
    """It finds what was never announced; its cost must not come with every look."""
    daemon = announced.workflow()
    daemon.tick()
    announced.upload("in/a.mp4")
    assert daemon.tick() == []
    daemon.cursor = Cursor.parse(daemon.cursor).model_copy(update={"swept": {"in/": 1.0}}).model_dump_json()
    assert daemon.tick() == ["in/a.mp4"]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        pytest.param(Answer("403 Forbidden", "ExpiredToken"), "ExpiredToken", id="refused"),
        pytest.param(Answer("404 Not Found", "NoSuchBucket"), "make the bucket", id="no bucket"),
        pytest.param(Answer("503 Slow Down", "SlowDown"), "503", id="busy"),
        pytest.param(CUT, "ENDPOINT_URL", id="cut"),
    ],
)
def test_a_message_stays_while_the_bucket_does_not_answer(announced, faults, answer, says):
    """Whatever HEAD says then says nothing of the upload; the tick fails with the reason."""
    daemon = announced.workflow(listing=False)
    announced.upload("in/a.mp4")
    announced.announce("in/a.mp4")
    faults.fault = lambda environ: answer if asks_bucket(environ) else None
    with pytest.raises(dg.Failure, match=says):
        daemon.tick()
    assert announced.waiting() == 1


def test_a_bucket_that_is_slow_costs_a_look_one_call(announced, faults, monkeypatch):
    """Dagster gives up a tick after 60 s: the look ends by itself, tells why, and nothing is lost."""
    monkeypatch.setattr(s3, "BRISK_S", 0.6)
    daemon = announced.workflow(Limits(seconds=1), list_every_s=0)
    daemon.tick()
    announced.upload("in/a.mp4")
    announced.announce("in/a.mp4")
    calls = []

    def slow(environ: Environ) -> None:
        calls.append(environ["REQUEST_METHOD"])
        threading.Event().wait(2)

    faults.fault = slow
    with pytest.raises(dg.Failure, match="timeout"):
        daemon.tick()
    assert calls == ["HEAD", "HEAD"]
    assert announced.waiting() == 1


def test_a_key_that_no_bucket_may_hold_is_reported_and_does_not_delay_others(announced):
    """Announced or listed; also in one message with others."""
    daemon = announced.workflow(list_every_s=0)
    for key in ("in//a.mp4", "in/b.mp4"):
        announced.upload(key)
    records = [json.loads(record(announced.name, key))["Records"][0] for key in ("in//a.mp4", "in/b.mp4")]
    announced.send(json.dumps({"Records": records}))
    assert [daemon.tick(), daemon.tick()] == [["in/b.mp4"], []]
    assert "1 left out, such as: bucket s3://" in daemon.answer.skip_reason.skip_message
    assert announced.waiting() == 0


def test_one_upload_that_may_not_be_read_stays_and_keeps_no_other_waiting(announced, faults):
    """The tick says which one; somebody may mend its rights."""
    daemon = announced.workflow(listing=False)
    for key in ("in/secret.mp4", "in/a.mp4"):
        announced.upload(key)
        announced.announce(key)
    refused = Answer("403 Forbidden", "AccessDenied")
    faults.fault = lambda environ: refused if looks(environ) and "secret" in environ["PATH_INFO"] else None
    assert daemon.tick() == ["in/a.mp4"]
    assert daemon.tick() == []
    assert announced.waiting() == 1
