"""Tencent's SDK, unchanged, against a running server: what it sends is understood, and what it is told it raises."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from tencentcloud.common import abstract_client
from tencentcloud.common.common_client import CommonClient
from tencentcloud.common.credential import Credential
from tencentcloud.common.exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.common.retry import StandardRetryer
from tencentcloud.mps.v20190612 import models
from tencentcloud.mps.v20190612.mps_client import MpsClient

from mps_dagster.api.limits import RateLimits
from mps_dagster.api.service import mps_actions

from .conftest import SECRET_ID, SECRET_KEY, serving

WAYS = [
    pytest.param({}, id="TC3 POST"),
    pytest.param({"method": "GET"}, id="TC3 GET"),
    pytest.param({"unsigned": True}, id="unsigned payload"),
    pytest.param({"method": "GET", "unsigned": True}, id="unsigned payload GET"),
    pytest.param({"sign": "HmacSHA1"}, id="HmacSHA1"),
    pytest.param({"sign": "HmacSHA256"}, id="HmacSHA256"),
    pytest.param({"sign": "HmacSHA1", "method": "GET"}, id="HmacSHA1 GET"),
    pytest.param({"sign": "HmacSHA256", "method": "GET"}, id="HmacSHA256 GET"),
]
PARAMETERS = {
    "OutputDir": "/a b/中&=+%;~/",
    "TranscodeTaskSet": [
        {"Definition": number, "StartTimeOffset": number / 2, "OverrideParameter": {"Container": "mp4"}}
        for number in range(12)
    ],
    "ExtTimeOffsetSet": ["10%", "3.5s"],
    "TasksPriority": -3,
    "Enabled": True,
}

DELIVERED = {
    "EventType": "WorkflowTask",
    "WorkflowTaskEvent": {
        "TaskId": "2600010949-WorkflowTask-764a7f3ca6f6eb13cda2048cfb034025tt7", "Status": "FINISH", "ErrCode": 0,
        "Message": "SUCCESS",
        "InputInfo": {
            "Type": "COS", "UrlInputInfo": None, "S3InputInfo": None,
            "CosInputInfo": {"Bucket": "keep-bucket-1308919341", "Region": "ap-guangzhou", "Object": "/mps-test/测试.mov"},
        },
        "MetaData": {
            "AudioDuration": 30.528, "Container": "mov", "Size": 709764, "Width": 480,
            "VideoStreamSet": [{"Bitrate": 37717, "Codec": "h264", "Fps": 30, "Height": 270, "Width": 480}],
        },
        "MediaProcessResultSet": [], "AiRecognitionResultSet": [], "AiQualityControlTaskResult": None,
    },
    "ScheduleTaskEvent": None, "LiveScheduleTaskEvent": None, "EditMediaTaskEvent": None, "SessionId": "", "SessionContext": "",
    "ExtInfo": "",
}  # fmt: skip


def refused(
    client: MpsClient, action: str = "ParseNotification", parameters: object = None
) -> TencentCloudSDKException:
    """What the SDK raises."""
    with pytest.raises(TencentCloudSDKException) as raised:
        client.call_json(action, {} if parameters is None else parameters)
    return raised.value


def event(content: dict[str, object]) -> models.ParseNotificationRequest:
    request = models.ParseNotificationRequest()
    request.Content = json.dumps(content)
    return request


@pytest.mark.parametrize("way", WAYS)
def test_parameters_arrive_however_they_are_sent(client_to, address, receiver, way):
    """Numbers as numbers and lists in order, also from dialects in which everything is a string."""
    reply = client_to(address, **way).call_json("ProcessMedia", PARAMETERS)
    call = receiver.calls[-1]
    assert call.request.model_dump(by_alias=True, exclude_unset=True) == PARAMETERS | {
        "TranscodeTaskSet": tuple(PARAMETERS["TranscodeTaskSet"]), "ExtTimeOffsetSet": ("10%", "3.5s"),
    }  # fmt: skip
    assert (call.key.secret_id, call.region) == (SECRET_ID, "ap-guangzhou")
    assert reply["Response"] == {"TaskId": "task-\ud800", "RequestId": call.request_id}


@pytest.mark.parametrize("way", WAYS)
def test_a_model_of_the_sdk_is_filled(client_to, address, way):
    """With what MPS itself once delivered (reference E.2). The SDK warns of members that it does not know: there are none."""
    reply = client_to(address, **way).ParseNotification(event(DELIVERED))
    task = reply.WorkflowTaskEvent
    assert (reply.EventType, task.Status, task.ErrCode) == ("WorkflowTask", "FINISH", 0)
    assert task.InputInfo.CosInputInfo.Object == "/mps-test/测试.mov"
    assert task.MetaData.VideoStreamSet[0].Width == 480
    assert (reply.EditMediaTaskEvent, reply.Timestamp) == (None, None)
    assert reply.RequestId


def test_a_signed_notification_keeps_its_signature(client):
    """It is for the receiver to check."""
    body = {
        "EventType": "ScheduleTask", "ScheduleTaskEvent": {"TaskId": "t"}, "SessionId": "s", "SessionContext": "c",
        "Timestamp": 1633046400, "Sign": "97a816f821c764678d2d05bc3bb33173", "ExtInfo": "",
    }  # fmt: skip
    reply = client.ParseNotification(event(body))
    assert (reply.ScheduleTaskEvent.TaskId, reply.SessionId, reply.SessionContext) == ("t", "s", "c")
    assert (reply.Timestamp, reply.Sign) == (1633046400, "97a816f821c764678d2d05bc3bb33173")


@pytest.mark.parametrize(
    "content",
    [
        "", "no JSON", "[]", "null", "[" * 100_000, "{}", '{"EventType": []}', '{"EventType": "Other", "Other": {}}',
        '{"EventType": "WorkflowTask"}', '{"EventType": "WorkflowTask", "WorkflowTaskEvent": "text"}',
        '{"EventType": "WorkflowTask", "WorkflowTaskEvent": {"ErrCode": NaN}}',
        '{"EventType": "WorkflowTask", "WorkflowTaskEvent": {"ErrCode": 1e999}}',
    ],
)  # fmt: skip
def test_what_is_no_notification_is_refused(client, content):
    """With MPS's code."""
    assert refused(client, parameters={"Content": content}).code == "InvalidParameterValue.InvalidContent"


@pytest.mark.parametrize("way", WAYS)
def test_a_wrong_key_is_told_from_an_unknown_id(client_to, address, way):
    """By the documented codes."""
    wrong = client_to(address, **way, secret_key=SECRET_KEY + "!")
    assert refused(wrong).code == "AuthFailure.SignatureFailure"
    unknown = client_to(address, **way, secret_id="AKIDother")
    assert refused(unknown).code == "AuthFailure.SecretIdNotFound"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("off_s", [-360, 360])
def test_a_clock_that_is_off_by_six_minutes_is_told(client_to, address, way, off_s, monkeypatch):
    """Either way."""
    monkeypatch.setattr(abstract_client, "time", SimpleNamespace(time=lambda: time.time() + off_s))
    error = refused(client_to(address, **way))
    assert error.code == "AuthFailure.SignatureExpire"
    assert re.search("(359|36[01]) s apart", error.message)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("off_s", [-240, 240])
def test_a_clock_that_is_off_by_four_minutes_will_do(client_to, address, way, off_s, monkeypatch):
    """MPS allows five."""
    monkeypatch.setattr(abstract_client, "time", SimpleNamespace(time=lambda: time.time() + off_s))
    client_to(address, **way).call_json("ProcessMedia", {})


@pytest.mark.parametrize("way", [way for way in WAYS if "unsigned" not in way.values[0]])
def test_a_body_that_was_changed_on_its_way_is_refused(client_to, address, way, monkeypatch):
    """As soon as one character is another."""
    client = client_to(address, **way)
    send = client.request.send_request

    def tamper(request: object) -> object:
        request.data = request.data.replace("inbox", "other")
        return send(request)

    monkeypatch.setattr(client.request, "send_request", tamper)
    assert refused(client, "ProcessMedia", {"OutputDir": "/inbox/"}).code == "AuthFailure.SignatureFailure"


def test_a_name_with_an_underscore_does_not_break_the_signature(client_to, address):
    """In v1 it is signed as a dot."""
    error = refused(client_to(address, sign="HmacSHA1"), "ProcessMedia", {"Output_Dir": "/"})
    assert (error.code, "`Output_Dir`" in error.message) == ("UnknownParameter", True)


def test_a_body_that_the_client_did_not_sign_is_taken_as_it_comes(client_to, address, receiver, monkeypatch):
    """UNSIGNED-PAYLOAD means that."""
    client = client_to(address, unsigned=True)
    send = client.request.send_request

    def tamper(request: object) -> object:
        request.data = request.data.replace("inbox", "other")
        return send(request)

    monkeypatch.setattr(client.request, "send_request", tamper)
    client.call_json("ProcessMedia", {"OutputDir": "/inbox/"})
    assert receiver.calls[-1].request.output_dir == "/other/"


@pytest.mark.parametrize("sign", ["TC3-HMAC-SHA256", "HmacSHA1"])
def test_temporary_credentials_are_refused(client_to, address, sign):
    """Not taken for others."""
    assert refused(client_to(address, sign=sign, token="temporary")).code == "AuthFailure.TokenFailure"


def test_a_call_without_a_signature_is_refused(client):
    """The SDK's SkipSign."""
    with pytest.raises(TencentCloudSDKException) as raised:
        client.call_json("ProcessMedia", {}, options={"SkipSign": True})
    assert raised.value.code == "AuthFailure.InvalidAuthorization"


@pytest.mark.parametrize(
    ("action", "parameters", "code", "says"),
    [
        ("NoSuchAction", {}, "InvalidAction", "NoSuchAction"),
        ("EditMedia", {"FileInfos": []}, "UnsupportedOperation", "EditMedia"),
        ("ParseNotification", {}, "MissingParameter", "`Content`"),
        ("ParseNotification", {"Content": None}, "MissingParameter", "`Content`"),
        ("ParseNotification", {"Content": []}, "InvalidParameterValue", "`Content`"),
        ("ParseNotification", {"Content": "{}", "Contents": "{}"}, "UnknownParameter", "`Contents`"),
        ("ProcessMedia", {"output_dir": "/"}, "UnknownParameter", "`output_dir`"),
        ("ProcessMedia", {"TranscodeTaskSet": [{"Definition": 1}, {}]}, "MissingParameter", "`TranscodeTaskSet.1.Definition`"),
        ("ProcessMedia", {"TranscodeTaskSet": [{"Definition": -1}]}, "InvalidParameterValue", "`TranscodeTaskSet.0.Definition`"),
        ("ProcessMedia", {"TranscodeTaskSet": [None]}, "InvalidParameterValue", "`TranscodeTaskSet.0`"),
        ("ProcessMedia", {"TasksPriority": "high"}, "InvalidParameterValue", "`TasksPriority`"),
        ("ProcessMedia", {"AiAnalysisTask": {"Definition": 10}}, "UnsupportedOperation", "`AiAnalysisTask`"),
        ("ProcessMedia", [], "InvalidParameter", "JSON object"),
        ("DescribeTaskDetail", {"TaskId": "told"}, "ResourceNotFound.TaskNotFound", "no such task"),
        ("DescribeTaskDetail", {"TaskId": "input"}, "InvalidParameterValue", "no template 7"),
        ("DescribeTaskDetail", {"TaskId": "storage"}, "FailedOperation", "bucket is away"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_by_code_and_name(client, action, parameters, code, says):
    """The SDK raises its own exception with them."""
    error = refused(client, action, parameters)
    assert error.code == code
    assert says in error.message
    assert error.requestId


@pytest.mark.parametrize("task", ["bug", "unwritable", "not a number"])
def test_a_bug_of_ours_is_logged_and_not_shown(client, task, caplog):
    """The client gets the id under which the traceback is found."""
    error = refused(client, "DescribeTaskDetail", {"TaskId": task})
    assert error.code == "InternalError"
    assert error.requestId in error.message
    assert "secret" not in error.message
    [record] = [record for record in caplog.records if record.exc_info]
    assert error.requestId in record.getMessage()


def test_another_version_of_the_api_is_refused(address):
    """By its name."""
    profile = ClientProfile(httpProfile=HttpProfile(protocol="http", endpoint=address))
    client = CommonClient("mps", "2020-01-01", Credential(SECRET_ID, SECRET_KEY), "", profile)
    assert refused(client).code == "NoSuchVersion"
    client.request.conn._session.close()


def test_a_signature_for_another_product_is_refused(address):
    """Tencent's keys open all of them, ours open this."""
    profile = ClientProfile(httpProfile=HttpProfile(protocol="http", endpoint=address))
    client = CommonClient("cvm", "2019-06-12", Credential(SECRET_ID, SECRET_KEY), "", profile)
    assert refused(client).code == "AuthFailure.SignatureFailure"
    client.request.conn._session.close()


def test_every_action_of_the_sdk_is_known(client):
    """So none of them is taken for a slip of the pen."""
    theirs = {name for name in vars(MpsClient) if name[0].isupper()}
    assert theirs <= mps_actions()


def test_a_client_that_is_throttled_waits(api_settings, service, client_to):
    """The SDK's retryer takes the code for what it is. (It then raises the first error even after a success: a bug of its own.)"""
    clock = SimpleNamespace(now=0.0)
    limits = RateLimits({"ParseNotification": 1}, lambda: clock.now)
    waits: list[int] = []

    def sleep(retry: int) -> float:
        waits.append(retry)
        return 0

    with serving(api_settings, replace(service, limits=limits)) as address:
        client = client_to(address)
        client.profile.retryer = StandardRetryer(max_attempts=2, backoff_fn=sleep)
        request = event({"EventType": "WorkflowTask", "WorkflowTaskEvent": {}})
        client.ParseNotification(request)
        with pytest.raises(TencentCloudSDKException) as raised:
            client.ParseNotification(request)
        assert (raised.value.code, waits) == ("RequestLimitExceeded", [0, 1])
        clock.now += 1
        client.ParseNotification(request)


@pytest.mark.parametrize("way", [{}, {"sign": "HmacSHA1"}, {"method": "GET"}])
def test_a_request_that_is_too_large_is_told(client_to, address, way):
    """Also where the server has not kept what the client still sends."""
    sizes = {"GET": 40_000, "HmacSHA1": 2 * 2**20}
    size = sizes.get(way.get("method") or way.get("sign"), 12 * 2**20)
    error = refused(client_to(address, **way), "ProcessMedia", {"OutputDir": "x" * size})
    assert error.code == "RequestSizeLimitExceeded"


@pytest.mark.parametrize("way", [{}, {"sign": "HmacSHA1"}, {"method": "GET"}])
def test_a_request_that_is_just_not_too_large_is_taken(client_to, address, receiver, way):
    """32 KB in an address, 1 MB in a form, 10 MB in JSON."""
    sizes = {"GET": 32_000, "HmacSHA1": 2**20 - 1000}
    size = sizes.get(way.get("method") or way.get("sign"), 10 * 2**20 - 1000)
    client_to(address, **way).call_json("ProcessMedia", {"OutputDir": "x" * size})
    assert len(receiver.calls[-1].request.output_dir) == size
