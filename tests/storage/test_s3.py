"""What is S3's own, against a real server over HTTP."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from s3_servers import CONDITIONS, CUT, Answer, layered

from mps_dagster.errors import StorageFailed, StorageRefused
from mps_dagster.settings import S3Settings
from mps_dagster.storage.buckets import Buckets
from mps_dagster.storage.s3 import S3Bucket, make_client

pytestmark = pytest.mark.slow


def test_a_bucket_that_does_not_exist_is_refused_for_good(s3_client):
    """A person has to mend it; no retry will."""
    with pytest.raises(StorageRefused, match="workflow") as caught:
        list(S3Bucket("s3://none", "none", s3_client).list())
    assert not caught.value.retryable


def test_an_endpoint_that_is_down_is_worth_a_retry():
    """And a failed listing raises: it is never an empty one."""
    settings = S3Settings(
        endpoint_url="http://127.0.0.1:9", region="us-east-1", access_key_id="x", secret_access_key="x"
    )
    with pytest.raises(StorageFailed, match="ENDPOINT_URL") as caught:
        list(S3Bucket("s3://b", "b", make_client(settings)).list())
    assert caught.value.retryable


def test_what_is_published_has_its_type(s3_bucket, s3_client, tmp_path):
    """A player asks for it."""
    (tmp_path / "a").write_bytes(b"#EXTM3U")
    s3_bucket.publish(tmp_path / "a", "a.m3u8")
    head = s3_client.head_object(Bucket=s3_bucket.name.removeprefix("s3://"), Key="a.m3u8")
    assert head["ContentType"] == "application/vnd.apple.mpegurl"


def test_a_copy_of_an_output_is_an_upload(s3_bucket, s3_client):
    """S3 copies the metadata along, but it says where the output was put."""
    s3_bucket.write("out/a.mp4", b"x", record="_mps/records/1")
    name = s3_bucket.name.removeprefix("s3://")
    s3_client.copy_object(Bucket=name, Key="in/a.mp4", CopySource={"Bucket": name, "Key": "out/a.mp4"})
    assert s3_bucket.head("in/a.mp4").record == ""


def test_an_output_is_known_behind_a_proxy_that_writes_headers_its_own_way():
    """As Go's do, in title case; else each output would be an upload, without end."""
    with layered(lambda _: None, header=str.title) as address:
        settings = S3Settings(
            endpoint_url=address, region="us-east-1", addressing_style="path", access_key_id="k", secret_access_key="s"
        )
        client = make_client(settings)
        client.create_bucket(Bucket="proxied")
        bucket = S3Bucket("s3://proxied", "proxied", client)
        bucket.write("out/a.mp4", b"x", record="_mps/records/1")
        assert "Mps-Record" in client.head_object(Bucket="proxied", Key="out/a.mp4")["Metadata"]
        assert bucket.head("out/a.mp4").record == "_mps/records/1"


def test_folder_markers_are_no_objects(s3_bucket, s3_client):
    """Consoles make empty objects that end with a slash."""
    s3_client.put_object(Bucket=s3_bucket.name.removeprefix("s3://"), Key="in/", Body=b"")
    assert list(s3_bucket.list()) == []


def test_a_workflow_s_name_finds_the_bucket(settings, s3_client):
    """`s3://media` and `inbox` are all that a workflow says."""
    buckets = Buckets(settings, lambda: s3_client)
    assert isinstance(buckets.get("s3://media"), S3Bucket)
    assert buckets.get("inbox").root == settings.buckets_dir / "inbox"
    assert buckets.get("inbox") is buckets.get("inbox")


@pytest.mark.parametrize("style", ["path", "virtual"])
def test_the_addressing_style_is_the_settings(style):
    """COS refuses path style; a local server mostly needs it."""
    settings = S3Settings(
        endpoint_url="http://cos.example.com",
        region="x",
        addressing_style=style,
        access_key_id="a",
        secret_access_key="b",
    )
    url = make_client(settings).generate_presigned_url("get_object", Params={"Bucket": "media", "Key": "a"})
    assert url.startswith("http://cos.example.com/media/a" if style == "path" else "http://media.cos.example.com/a")


def old_minio(environ):
    """Answers a condition that does not hold as if it had been asked for the object."""
    if environ["REQUEST_METHOD"] == "PUT" and environ.get("HTTP_IF_NONE_MATCH") and "there" in environ["PATH_INFO"]:
        return Answer("304 Not Modified", "NotModified")
    return None


def refusing(environ):
    if environ["REQUEST_METHOD"] == "PUT" and any(name in environ for name in CONDITIONS):
        return Answer("501 Not Implemented", "NotImplemented")
    return None


def half(environ):
    """Knows one condition of the two, and ignores the other."""
    if environ["REQUEST_METHOD"] == "PUT":
        environ.pop("HTTP_IF_MATCH", None)


def ignoring(environ):
    if environ["REQUEST_METHOD"] == "PUT":
        for name in CONDITIONS:
            environ.pop(name, None)


@pytest.mark.parametrize("service", [old_minio, refusing, half, ignoring])
def test_swaps_hold_on_a_service_without_conditional_writes(service):
    """What it refuses or ignores is made up for by looking back."""
    with layered(service) as address:
        settings = S3Settings(
            endpoint_url=address, region="us-east-1", addressing_style="path", access_key_id="k", secret_access_key="s"
        )
        client = make_client(settings)
        client.create_bucket(Bucket=service.__name__.replace("_", "-"))
        bucket = S3Bucket("s3://x", service.__name__.replace("_", "-"), client, settle_s=0.3)
        bucket.write("there", b"1")
        assert not bucket.swap("there", None, b"2")
        assert bucket.swap("there", b"1", b"2")
        assert not bucket.swap("there", b"1", b"3")
        for old, key in ((None, "new"), (b"2", "there")):
            together = threading.Barrier(4)

            def swap(number, old=old, key=key, together=together):
                together.wait()
                return bucket.swap(key, old, str(number).encode())

            with ThreadPoolExecutor(4) as pool:
                told = list(pool.map(swap, range(10, 14)))
            assert [str(number + 10).encode() for number, won in enumerate(told) if won] == [bucket.read(key)]


def test_conditions_that_a_service_heeds_cost_no_wait(s3_bucket, s3_client):
    """It is tried once per condition whether it does."""
    # No such wait is possible: one that is begun raises.
    bucket = S3Bucket(s3_bucket.name, s3_bucket.name.removeprefix("s3://"), s3_client, settle_s=-1)
    assert bucket.swap("a", None, b"1")
    assert bucket.swap("a", b"1", b"2")
    assert bucket.swap("b", None, b"1")


def test_a_swap_whose_answer_was_lost_was_made(monkeypatch):
    """botocore sends it again, and then the condition does not hold any more, because of ourselves."""
    monkeypatch.setattr(time, "sleep", lambda _: None)
    lost = []

    def loses_one(environ):
        if environ["REQUEST_METHOD"] == "PUT" and "HTTP_IF_NONE_MATCH" in environ and not lost:
            lost.append(environ["PATH_INFO"])
            client.put_object(Bucket="lossy", Key="a", Body=b"1")
            return CUT
        return None

    with layered(loses_one) as address:
        settings = S3Settings(
            endpoint_url=address, region="us-east-1", addressing_style="path", access_key_id="k", secret_access_key="s"
        )
        client = make_client(settings)
        client.create_bucket(Bucket="lossy")
        assert S3Bucket("s3://lossy", "lossy", client).swap("a", None, b"1")
    assert lost == ["/lossy/a"]
