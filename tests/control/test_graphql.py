"""What we ask of Dagster's GraphQL, and how its answers are taken."""

from __future__ import annotations

from typing import Any

import pytest

from mps_dagster.control import graphql
from mps_dagster.control.graphql import Dagster
from mps_dagster.errors import InvalidInput


class Terminating(Dagster):
    """A web server whose run has these statuses, one at each request; it ends a run that is queued or has started."""

    def __init__(self, *statuses: str) -> None:
        super().__init__("http://127.0.0.1:9")
        self.statuses: list[str]
        object.__setattr__(self, "statuses", list(statuses))

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        status = self.statuses.pop(0)
        if status in ("QUEUED", "STARTED"):
            return {"terminateRun": {"__typename": "TerminateRunSuccess"}}
        failure = {"message": f"it could not be terminated due to having status {status}", "run": {"status": status}}
        return {"terminateRun": {"__typename": "TerminateRunFailure", **failure}}


@pytest.mark.parametrize("statuses", [["NOT_STARTED", "NOT_STARTED", "QUEUED"], ["STARTING", "STARTED"], ["QUEUED"]])
def test_a_run_that_is_being_queued_or_started_is_ended_as_soon_as_it_is(statuses, monkeypatch):
    monkeypatch.setattr(graphql.time, "sleep", lambda s: None)
    dagster = Terminating(*statuses)
    dagster.terminate("a-run")
    assert dagster.statuses == []


def test_a_run_that_has_ended_is_not_ended():
    with pytest.raises(InvalidInput, match=r"run a-run was not ended: .* status FAILURE"):
        Terminating("FAILURE", "QUEUED").terminate("a-run")
