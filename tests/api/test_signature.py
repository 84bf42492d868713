"""Signatures against published vectors, and what a forger may try."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import replace

import pytest

from mps_dagster.api.error import ApiError
from mps_dagster.api.signature import claim_of, verify
from mps_dagster.api.wire import FORM, Message

KEY = "sk"
NOW = 1795436469
PROBED = Message(
    "POST",
    {
        "content-type": "application/json", "host": "127.0.0.1:32859", "x-tc-timestamp": str(NOW),
        "authorization": (
            "TC3-HMAC-SHA256 Credential=AKIDtest/2026-11-23/mps/tc3_request, SignedHeaders=content-type;host, "
            "Signature=5bcf4a9eb4b35b968fd6b26b0a1042974d98dd603ae9cd80938183113ae2742b"
        ),
    },
    "",
    b'{"InputInfo": {"Type": "COS", "CosInputInfo": {"Bucket": "b-125", "Region": "ap-guangzhou", '
    b'"Object": "/a/\\u4e2d.mp4"}}, "MediaProcessTask": {"TranscodeTaskSet": [{"Definition": 100010, "StartTimeOffset": 1.5}]}}',
)  # fmt: skip
"""Recorded from the Python SDK (reference G.3)."""

PUBLISHED_KEY = "Gu5t9xGARNpq86cd98joQYCN3EXAMPLE"
PUBLISHED = Message(
    "POST",
    {
        "content-type": "application/json; charset=utf-8", "host": "cvm.tencentcloudapi.com", "x-tc-timestamp": "1551113065",
        "authorization": (
            "TC3-HMAC-SHA256 Credential=AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLE/2019-02-25/cvm/tc3_request, "
            "SignedHeaders=content-type;host, Signature=72e494ea809ad7a8c8f7a4507b9bddcbaa8e581f516e8da2f66e2c5a96525168"
        ),
    },
    "",
    b'{"Limit": 1, "Filters": [{"Values": ["\\u672a\\u547d\\u540d"], "Name": "instance-name"}]}',
)  # fmt: skip
"""From the documentation of API 3.0."""

PUBLISHED_V1 = Message(
    "GET", {"host": "cvm.tencentcloudapi.com"},
    "Action=DescribeInstances&InstanceIds.0=ins-09dx96dg&Limit=20&Nonce=11886&Offset=0&Region=ap-guangzhou"
    "&SecretId=AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLE&Signature=EliP9YW3pW28FpsEdkXt%2F%2BWcGeI%3D&Timestamp=1465185768"
    "&Version=2017-03-12",
    b"",
)  # fmt: skip


def code(message: Message, key: str, now: float, service: str = "mps") -> str:
    """What comes of it; empty if it is genuine."""
    try:
        verify(message, claim_of(message), key, now, service=service)
    except ApiError as error:
        return error.code
    return ""


def with_headers(message: Message, **headers: str | None) -> Message:
    changed = message.headers | {name.replace("_", "-"): value for name, value in headers.items()}
    return replace(message, headers={name: value for name, value in changed.items() if value is not None})


def resigned(message: Message, names: str, canonical_headers: str, payload: bytes) -> Message:
    """Signed by hand, step by step as the documentation has it, over these headers."""
    digest = hashlib.sha256(payload).hexdigest()
    request = f"{message.method}\n/\n{message.query}\n{canonical_headers}\n{names}\n{digest}"
    text = f"TC3-HMAC-SHA256\n{NOW}\n2026-11-23/mps/tc3_request\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = f"TC3{KEY}".encode()
    for part in ("2026-11-23", "mps", "tc3_request", text):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    scope = "AKIDtest/2026-11-23/mps/tc3_request"
    return with_headers(
        message,
        authorization=f"TC3-HMAC-SHA256 Credential={scope}, SignedHeaders={names}, Signature={key.hex()}",
    )


@pytest.mark.parametrize(
    ("message", "key", "now", "service"),
    [
        pytest.param(PROBED, KEY, NOW, "mps", id="recorded"),
        pytest.param(PUBLISHED, PUBLISHED_KEY, 1551113065, "cvm", id="published TC3"),
        pytest.param(PUBLISHED_V1, PUBLISHED_KEY, 1465185768, "cvm", id="published v1"),
    ],
)
def test_what_is_known_to_be_right_is_right(message, key, now, service):
    """And nothing else: another key, another time, another text."""
    assert code(message, key, now, service) == ""
    assert code(message, key, now + 300, service) == code(message, key, now - 300, service) == ""
    assert (
        code(message, key, now + 301, service)
        == code(message, key, now - 301, service)
        == "AuthFailure.SignatureExpire"
    )
    assert code(message, key + " ", now, service) == code(message, "", now, service) == "AuthFailure.SignatureFailure"


@pytest.mark.parametrize(
    "changed",
    [
        replace(PROBED, body=PROBED.body + b" "),
        replace(PROBED, body=b""),
        replace(PROBED, method="GET"),
        with_headers(PROBED, host="127.0.0.1:32860"),
        with_headers(PROBED, content_type="application/json; charset=utf-8"),
        with_headers(PROBED, x_tc_timestamp=str(NOW + 1)),
        with_headers(PROBED, x_tc_timestamp=f"0{NOW}", x_tc_content_sha256="UNSIGNED-PAYLOAD"),
        with_headers(PROBED, x_tc_content_sha256="UNSIGNED-PAYLOAD"),
        with_headers(PROBED, authorization=PROBED.headers["authorization"].replace("/2026-11-23/", "/2026-11-22/")),
        with_headers(PROBED, authorization=PROBED.headers["authorization"].replace("/mps/", "/cvm/")),
        with_headers(PROBED, authorization=PROBED.headers["authorization"].replace("=5bcf", "=5bce")),
        replace(PUBLISHED_V1, query=PUBLISHED_V1.query.replace("Limit=20", "Limit=21")),
        replace(PUBLISHED_V1, query=PUBLISHED_V1.query + "&DryRun=true"),
        replace(PUBLISHED_V1, query=PUBLISHED_V1.query + "&Nonce_=1&Nonce.=2"),
        replace(PUBLISHED_V1, query=PUBLISHED_V1.query.replace("Eli", "%D0%95li")),
        replace(PUBLISHED_V1, query=PUBLISHED_V1.query + "&SignatureMethod=HmacSHA256"),
        replace(PUBLISHED_V1, method="POST", headers={"host": "cvm.tencentcloudapi.com", "content-type": FORM},
                query="", body=PUBLISHED_V1.query.encode()),
        with_headers(PUBLISHED_V1, host="mps.tencentcloudapi.com"),
    ],
)  # fmt: skip
def test_whatever_was_signed_cannot_be_changed(changed):
    """Neither the text, nor what it was signed for."""
    key, now = (KEY, NOW) if changed.is_tc3 else (PUBLISHED_KEY, 1465185768)
    assert code(changed, key, now) == "AuthFailure.SignatureFailure"


def test_a_query_added_to_a_post_is_neither_signed_nor_read():
    """The parameters of a POST are in its body."""
    assert code(replace(PROBED, query="TasksPriority=10"), KEY, NOW) == ""
    assert replace(PROBED, query="TasksPriority=10").form == {}


@pytest.mark.parametrize(
    ("names", "canonical"),
    [
        ("content-type;host", "content-type:Application/JSON\nhost:127.0.0.1:32859\n"),
        ("content-type;host", "content-type:application/json\nhost:127.0.0.1:32859\n"),
        ("content-type;host;x-tc-action", "content-type:application/json\nhost:127.0.0.1:32859\nx-tc-action:processmedia\n"),
        ("content-type;host;x-tc-action", "content-type:Application/JSON\nhost:127.0.0.1:32859\nx-tc-action:ProcessMedia\n"),
        ("host;content-type", "host:127.0.0.1:32859\ncontent-type:application/json\n"),
        ("content-type;host;x-tc-action;x-tc-timestamp;x-tc-version",
         f"content-type:application/json\nhost:127.0.0.1:32859\nx-tc-action:processmedia\nx-tc-timestamp:{NOW}\nx-tc-version:2019-06-12\n"),
    ],
)  # fmt: skip
def test_any_headers_may_be_signed(names, canonical):
    """Their values as they were sent or in lower case, as SDKs differ; and then they cannot be changed."""
    sent = with_headers(
        PROBED, content_type="Application/JSON", x_tc_action=" ProcessMedia ", x_tc_version="2019-06-12"
    )
    signed = resigned(sent, names, canonical, sent.body)
    assert code(signed, KEY, NOW) == ""
    changed = with_headers(signed, x_tc_action="DeleteWorkflow")
    assert code(changed, KEY, NOW) == ("AuthFailure.SignatureFailure" if "x-tc-action" in names else "")


def test_an_unsigned_payload_has_to_be_said_so():
    """By a header that takes part in the signature."""
    canonical = "content-type:application/json\nhost:127.0.0.1:32859\n"
    signed = resigned(PROBED, "content-type;host", canonical, b"UNSIGNED-PAYLOAD")
    assert code(signed, KEY, NOW) == "AuthFailure.SignatureFailure"
    unsigned = with_headers(signed, x_tc_content_sha256="UNSIGNED-PAYLOAD")
    assert code(replace(unsigned, body=b"anything"), KEY, NOW) == ""


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (with_headers(PROBED, authorization=""), "AuthFailure.InvalidAuthorization"),
        (with_headers(PROBED, authorization="SKIP"), "AuthFailure.InvalidAuthorization"),
        (with_headers(PROBED, authorization="Basic YTpi"), "AuthFailure.InvalidAuthorization"),
        (with_headers(PROBED, authorization=PROBED.headers["authorization"] + "0"), "AuthFailure.InvalidAuthorization"),
        (with_headers(PROBED, authorization=PROBED.headers["authorization"].replace("content-type;", "")), "AuthFailure.InvalidAuthorization"),
        (with_headers(PROBED, authorization=PROBED.headers["authorization"].replace(";host", "")), "AuthFailure.InvalidAuthorization"),
        (with_headers(PROBED, authorization=PROBED.headers["authorization"].replace(";host", ";host;x-none")), "AuthFailure.InvalidAuthorization"),
        (with_headers(PROBED, authorization=None), "AuthFailure.InvalidAuthorization"),
        (with_headers(PROBED, x_tc_timestamp=None), "MissingParameter"),
        (with_headers(PROBED, x_tc_timestamp="now"), "InvalidParameterValue"),
        (with_headers(PROBED, x_tc_timestamp="-1"), "InvalidParameterValue"),
        (with_headers(PROBED, x_tc_timestamp="9" * 5000), "InvalidParameterValue"),
        (with_headers(PROBED, x_tc_timestamp="9" * 12), "AuthFailure.SignatureExpire"),
        (with_headers(PROBED, x_tc_token="token"), "AuthFailure.TokenFailure"),
        (replace(PUBLISHED_V1, query=""), "MissingParameter"),
        (replace(PUBLISHED_V1, query="SecretId=AKID"), "MissingParameter"),
        (replace(PUBLISHED_V1, query=PUBLISHED_V1.query + "&SignatureMethod=HmacMD5"), "InvalidParameterValue"),
        (replace(PUBLISHED_V1, query=PUBLISHED_V1.query + "&Limit=20"), "InvalidParameter"),
        (replace(PUBLISHED_V1, query=PUBLISHED_V1.query + "&Name=%ff"), "InvalidParameter"),
        (replace(PUBLISHED_V1, query="a=1&" * 20_000), "InvalidParameter"),
    ],
)  # fmt: skip
def test_what_proves_nothing_is_refused(changed, expected):
    """Each by the code that says what to mend."""
    assert code(changed, KEY, NOW) == expected
