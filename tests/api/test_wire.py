"""The dialects of a request, and the answers."""

from __future__ import annotations

import json
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tencentcloud.common.abstract_client import AbstractClient

from mps_dagster.api.error import ApiError
from mps_dagster.api.wire import FORM, Message, failure, parameters, success, unflatten

FLATTENER = AbstractClient(None, "")
NAMES = st.from_regex(r"[A-Z][A-Za-z0-9]{0,8}", fullmatch=True)
VALUES = st.recursive(
    st.text(),
    lambda inner: st.lists(inner, min_size=1, max_size=12) | st.dictionaries(NAMES, inner, min_size=1, max_size=4),
    max_leaves=20,
)


@pytest.mark.slow
@given(st.dictionaries(NAMES, VALUES, max_size=5))
def test_what_the_sdk_flattens_is_read_back(members):
    """All but what it leaves out: nulls, and lists and objects with nothing in them."""
    flat = FLATTENER._format_params(None, members)
    assert unflatten(flat.items()) == members
    assert parameters(Message("GET", {"authorization": "TC3"}, urlencode(flat), b"")) == members


def test_elements_may_come_in_any_order():
    """Sorted as texts, 10 is before 2."""
    pairs = [(f"A.{index}.B", str(index)) for index in sorted(range(12), key=str, reverse=True)]
    assert unflatten(pairs) == {"A": [{"B": str(index)} for index in range(12)]}


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["A", "A.B"], "both"),
        (["A.B", "A"], "both"),
        (["A.B.C", "A.B"], "both"),
        (["A.1"], "`A.0`"),
        (["A.0", "A.2"], "`A.1`"),
        (["A.0", "A.00"], "`A.1`"),
        (["A.0", "A.B"], "`A.1`"),
        (["A.\u0660"], "`A.0`"),
        (["A.999999999999"], "`A.0`"),
        ([""], "no parameter name"),
        (["A."], "no parameter name"),
        ([".A"], "no parameter name"),
        (["A..B"], "no parameter name"),
        (["A" + ".B" * 10_000], "no parameter name"),
    ],
)
def test_names_that_contradict_one_another_are_refused(names, says):
    """Rather than read in one of two ways."""
    with pytest.raises(ApiError, match="InvalidParameter") as raised:
        unflatten([(name, "1") for name in names])
    assert says in raised.value.message


def test_each_dialect_says_the_same():
    """JSON keeps the types, a form has strings; v1's own parameters are none of the action's."""
    tc3 = {"authorization": "TC3", "x-tc-action": "A", "content-type": "application/json; charset=utf-8"}
    expected = {"InputInfo": {"Url": "a b&c"}, "Set": [{"N": "1"}]}
    post = Message("POST", tc3, "", json.dumps(expected).encode())
    get = Message("GET", tc3, "InputInfo.Url=a+b%26c&Set.0.N=1", b"ignored")
    form = Message("POST", {"content-type": FORM}, "", b"Action=A&Nonce=7&InputInfo.Url=a+b%26c&Set.0.N=1&Signature=x")
    for message in (post, get, form):
        assert (message.common("Action"), parameters(message)) == ("A", expected)


def test_no_body_is_no_parameters():
    """Some clients send none."""
    assert parameters(Message("POST", {"authorization": "TC3", "content-type": "application/json"}, "", b"")) == {}


@pytest.mark.parametrize(
    "body",
    [
        b"{", b"[]", b"null", b'"A"', b"\xff", b'{"A": "\xff"}', b'{"A": NaN}', b'{"A": -Infinity}', b'{"A": 1e999}',
        b'{"A": ' + b"9" * 5000 + b"}", b'{"A":' * 100_000, b"\xef\xbb\xbf{}",
        b'{"A": ' + b"[" * 40 + b"]" * 40 + b"}", b'{"A": [' + b"{}," * 1001 + b"{}]}", b'{"A": "\\ud800"}',
    ],
)  # fmt: skip
def test_what_is_no_json_object_is_refused(body):
    """However it is wrong."""
    with pytest.raises(ApiError) as raised:
        parameters(Message("POST", {"authorization": "TC3", "content-type": "application/json"}, "", body))
    assert raised.value.code == "InvalidParameter"


@pytest.mark.parametrize("kind", ["", "text/plain", "multipart/form-data; boundary=x", "application/octet-stream"])
def test_a_body_of_another_type_is_not_guessed_at(kind):
    """The error says what to send."""
    with pytest.raises(ApiError, match="send application/json") as raised:
        parameters(Message("POST", {"authorization": "TC3", "content-type": kind}, "", b"{}"))
    assert raised.value.code == "UnsupportedOperation"


def test_an_answer_has_a_request_id_and_is_ascii():
    """Whatever names of objects it holds."""
    assert json.loads(success({"Path": "/影\ud800"}, "id")) == {"Response": {"Path": "/影\ud800", "RequestId": "id"}}
    answer = json.loads(failure(ApiError("A.B", "影"), "id"))
    assert answer == {"Response": {"Error": {"Code": "A.B", "Message": "影"}, "RequestId": "id"}}
    assert success({"Path": "影"}, "id").isascii()
