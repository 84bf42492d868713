"""Where keys come from, and what they may do."""

from __future__ import annotations

import json
import traceback

import pytest

from mps_dagster.api.error import ApiError
from mps_dagster.api.keys import load_keys
from mps_dagster.errors import InvalidConfiguration
from mps_dagster.settings import Settings

SECRET = "sixteen characters and more"
KEY = {"secret_id": "AKIDone", "secret_key": SECRET, "read": ["inbox", "s3://media-*"], "write": ["outputs"]}


@pytest.fixture
def keys(tmp_path):
    """Writes a keys file where it is looked for, and reads it."""

    def keys(content: object, mode: int = 0o600):
        settings = Settings(project=tmp_path, home=tmp_path)
        path = settings.api_keys_path
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        path.chmod(mode)
        return load_keys(settings)

    return keys


def test_a_key_has_its_buckets(keys):
    """One that is not named is not allowed, and to write is another thing than to read."""
    key = keys({"keys": [KEY]})["AKIDone"]
    assert key.secret_key.get_secret_value() == SECRET
    for bucket in ("inbox", "s3://media-a"):
        key.check_read(bucket)
    key.check_write("outputs")
    for check, bucket in (
        (key.check_read, "outputs"), (key.check_read, "s3://other"), (key.check_read, "Inbox"), (key.check_read, "inbox2"),
        (key.check_write, "inbox"), (key.check_write, ""),
    ):  # fmt: skip
        with pytest.raises(ApiError, match="UnauthorizedOperation"):
            check(bucket)


def test_a_key_without_buckets_has_none(keys):
    """Nothing is allowed by leaving it out."""
    key = keys(f"keys:\n  - secret_id: AKIDone\n    secret_key: {SECRET}\n")["AKIDone"]
    with pytest.raises(ApiError, match="may not read"):
        key.check_read("inbox")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o622, 0o644, 0o601])
def test_a_file_that_others_can_open_is_not_used(keys, mode):
    """It holds the keys as they are."""
    with pytest.raises(InvalidConfiguration, match="others can get at") as raised:
        keys({"keys": [KEY]}, mode)
    assert "chmod 600" in raised.value.hint


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"keys": [KEY, KEY]}, "twice"),
        ({"keys": [{**KEY, "secret_id": "a/b"}]}, "keys.0.secret_id"),
        ({"keys": [{**KEY, "secret_key": SECRET[:15]}]}, "keys.0.secret_key"),
        ({"keys": [{**KEY, "secretkey": SECRET}]}, "keys.0.secretkey"),
        ({"keys": [{"secret_id": "AKIDone", "secret": SECRET}]}, "keys.0.secret_key"),
        ({"keys": {"AKIDone": SECRET}}, "keys"),
        ([KEY], "Input should be"),
        (f"keys: [{{secret_key: {SECRET}", "not YAML, line 1"),
        (f"keys:\n  - secret_key: {SECRET}\n secret_id: AKIDone", "not YAML, line 3"),
        ("", "Input should be"),
    ],
)
def test_an_invalid_file_is_reported_without_its_keys(keys, content, says):
    """Neither in the text nor in the traceback."""
    with pytest.raises(InvalidConfiguration) as raised:
        keys(content)
    assert says in str(raised.value)
    assert SECRET[:15] not in "".join(traceback.format_exception(raised.value))


def test_a_file_that_was_named_has_to_be_there(tmp_path):
    """The default file may be missing: then no client can call."""
    settings = Settings(project=tmp_path, home=tmp_path)
    assert load_keys(settings) == {}
    with pytest.raises(InvalidConfiguration, match=r"none\.yaml"):
        load_keys(
            settings.model_copy(update={"api": settings.api.model_copy(update={"keys_file": tmp_path / "none.yaml"})})
        )


def test_one_key_can_come_from_the_environment(tmp_path, monkeypatch):
    """For every bucket, beside those of the file; and it shows in no repr."""
    for name, value in {
        "MPS_API__SECRET_ID": "AKIDenv", "MPS_API__SECRET_KEY": SECRET, "MPS_API__RATES": '{"*": 5}', "MPS_API__PORT": "4000",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    settings = Settings(project=tmp_path, home=tmp_path)
    assert (settings.api.port, settings.api.rates) == (4000, {"*": 5.0})
    settings.api_keys_path.touch(0o600)
    settings.api_keys_path.write_text(json.dumps({"keys": [KEY]}))
    loaded = load_keys(settings)
    assert set(loaded) == {"AKIDone", "AKIDenv"}
    loaded["AKIDenv"].check_write("anything")
    assert SECRET not in f"{settings!r} {loaded!r}"


@pytest.mark.parametrize(
    "given", [{"secret_id": "AKID"}, {"secret_key": SECRET}, {"secret_id": "AKID", "secret_key": "short"}]
)
def test_half_a_key_is_refused(tmp_path, given):
    """Rather than left out silently."""
    with pytest.raises(InvalidConfiguration, match="MPS_API__SECRET_ID and MPS_API__SECRET_KEY"):
        load_keys(Settings(project=tmp_path, home=tmp_path, api=given))
