"""The process that holds the project's code dies without the servers above it."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from mps_dagster.cli.code_watch import GIVE_UP_AFTER_S, RELOAD_AFTER_S, CodeWatch
from mps_dagster.cli.supervision import ServiceDown, Services
from mps_dagster.control.graphql import Dagster, DagsterUnreachable
from mps_dagster.errors import MpsError


@dataclass
class Asked:
    """A Dagster that gives these answers, one after the other."""

    answers: list[bool | MpsError]
    reloads: list[int] = field(default_factory=list)

    def reaches_code(self) -> bool:
        answer = self.answers.pop(0)
        if isinstance(answer, MpsError):
            raise answer
        return answer

    def reload(self) -> None:
        self.reloads.append(len(self.answers))
        raise MpsError("it tells of the dead process")


def watched(*answers: bool | MpsError, every_s: float = RELOAD_AFTER_S + 1) -> tuple[CodeWatch, int]:
    """After these answers: the watch, and how often it reloaded the code."""
    dagster = Asked(list(answers))
    watch = CodeWatch(dagster)
    for number in range(len(answers)):
        watch.poll(number * every_s)
    return watch, len(dagster.reloads)


@pytest.mark.parametrize(
    ("answers", "reloads"),
    [
        ([True, True], 0),
        ([False], 0),
        ([False, True, False], 0),
        ([False, False, False], 1),
        ([False, False, True, False, False], 2),
        ([DagsterUnreachable("nobody"), DagsterUnreachable("nobody"), DagsterUnreachable("nobody")], 0),
    ],
    ids=["there", "just gone", "back by itself", "gone", "gone twice", "no answer"],
)
def test_code_that_is_gone_is_reloaded_once(answers, reloads):
    """Not at the first sight of it: Dagster replaces some of its processes itself."""
    watch, count = watched(*answers)
    assert (count, watch.lost) == (reloads, False)


def test_code_that_no_reload_brings_back_ends_the_services(tmp_path):
    """Whatever supervises `mps up` then starts everything again."""
    watch, _ = watched(False, False, every_s=GIVE_UP_AFTER_S + 1)
    with pytest.raises(ServiceDown, match="lost the process that holds the project's code"):
        Services(code=watch).check()


def test_code_that_comes_back_late_is_not_lost():
    watch, _ = watched(False, False, True, every_s=GIVE_UP_AFTER_S + 1)
    assert not watch.lost


@pytest.mark.parametrize(
    ("error", "reached"),
    [
        ({}, True),
        (None, True),
        ({"className": "DagsterUserCodeLoadError", "message": "cannot load"}, True),
        ({"className": "DagsterUserCodeUnreachableError", "message": "User code server request timed out …"}, True),
        ({"className": "DagsterUserCodeUnreachableError", "message": "gRPC Error code: UNKNOWN"}, False),
    ],
    ids=["loaded", "loading", "a project that is wrong", "slow", "gone"],
)
def test_code_that_is_slow_or_wrong_is_not_gone(monkeypatch, error, reached):
    """A reload would make the one begin again, and not mend the other."""
    reply = {"workspaceOrError": {"locationEntries": [{"locationOrLoadError": error}]}}
    monkeypatch.setattr(Dagster, "ask", lambda *_: reply)
    assert Dagster("http://127.0.0.1:1").reaches_code() is reached
