"""What is said of settings that are wrong."""

from __future__ import annotations

import sys

import pytest

from mps_dagster.cli import main
from mps_dagster.settings import unknown_variables


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("MPS_UI_PORT", "abc", "mps: MPS_UI_PORT: Input should be a valid integer"),
        ("MPS_S3__ENDPONT_URL", "http://a", "mps: MPS_S3__ENDPONT_URL: Extra inputs"),
        ("MPS_WEB__ALLOW", "hooks.lan", 'value for field "web"'),
        ("MPS_DATABASE_URL", "postgresql://mps:hooks.lan@h:port/mps", "postgresql://user:password@host:port/database"),
    ],
)
def test_an_invalid_setting_is_reported_in_one_line(name, value, says, monkeypatch, capsys):
    """By its variable, whatever the command; and without its value, which may hold a password."""
    monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["mps", "tasks"])
    with pytest.raises(SystemExit) as ended:
        main()
    message = capsys.readouterr().err
    assert ended.value.code == 1
    assert says in message
    assert len(message.splitlines()) == 1
    assert "hooks.lan" not in message


def test_variables_that_nothing_reads_are_found():
    """With the one that may be meant; groups and members of mappings are read, in any case."""
    read = ("MPS_HOME", "mps_ui_port", "MPS_S3", "MPS_S3__REGION", "MPS_API__RATES__ProcessMedia", "HOME", "MPSX")
    assert unknown_variables(dict.fromkeys(read, "")) == []
    assert unknown_variables({"MPS_MAX_RUN": "3", "MPS_XYZZY": ""}) == [
        "MPS_MAX_RUN (is MPS_MAX_RUNS meant?)", "MPS_XYZZY",
    ]  # fmt: skip
