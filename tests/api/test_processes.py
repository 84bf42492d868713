"""Two processes of the API over one project: the lock of changes holds between them, too."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

import pytest

from mps_dagster.api.action import Call, read_request
from mps_dagster.api.error import ApiError
from mps_dagster.api.keys import ApiKey
from mps_dagster.api.server import create_service
from mps_dagster.control.graphql import Dagster
from mps_dagster.settings import Settings
from mps_dagster.workflow.files import Change

KEY = ApiKey(secret_id="AKIDtest", secret_key="a key of sixteen characters", read=("*",), write=("*",))
STILLS = {"SampleType": "Percent", "SampleInterval": 50}
SPRITE = {"SampleType": "Percent", "SampleInterval": 10, "RowCount": 2, "ColumnCount": 2}
TRIGGER = {"Type": "CosFileUpload", "CosFileUploadTrigger": {"Bucket": "inbox", "Region": "r"}}

Calls = list[tuple[str, dict[str, Any]]]


def _serve(settings: Settings, connection: Connection) -> None:
    """The actions of the API, one list of calls after the other; codes of those that are refused."""
    # Dagster takes its time, and so does a disk: between what was read and what is written the other process comes.
    Dagster.reload = lambda _: time.sleep(0.05)  # type: ignore[method-assign]
    remember = Change._remember
    Change._remember = lambda *change: (time.sleep(0.02), remember(*change))[1]  # type: ignore[method-assign]
    actions = create_service(settings).actions

    def answer(name: str, parameters: dict[str, Any]) -> dict[str, Any] | str:
        action = actions[name]
        try:
            return dict(action.run(Call(read_request(action.model, parameters), KEY, "")))
        except ApiError as error:
            return error.code

    while True:
        connection.send([answer(*call) for call in connection.recv()])


@pytest.fixture
def at_once(tmp_path) -> Iterator[Callable[[Calls, Calls], list[list[Any]]]]:
    """Two lists of calls, each answered by a process of its own."""
    settings = Settings(project=tmp_path, home=tmp_path / "home")
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe() for _ in range(2)]
    processes = [context.Process(target=_serve, args=(settings, theirs)) for _, theirs in pipes]
    connections = [ours for ours, _ in pipes]

    def at_once(*calls: Calls) -> list[list[Any]]:
        for connection, some in zip(connections, calls, strict=True):
            connection.send(some)
        return [connection.recv() for connection in connections]

    for process in processes:
        process.start()
    try:
        # Both have started.
        assert at_once([], []) == [[], []]
        yield at_once
    finally:
        for process in processes:
            process.kill()
            process.join()


def test_two_processes_give_out_different_ids(at_once):
    """And keep to the limit of templates of one kind together."""
    results = at_once(*[[("CreateImageSpriteTemplate", SPRITE)] * 10] * 2)
    answers = [answer for process in results for answer in process]
    definitions = [answer["Definition"] for answer in answers if isinstance(answer, dict)]
    assert len(definitions) == len(set(definitions)) == 16
    assert answers.count("LimitExceeded.TooMuchTemplate") == 4


def test_of_a_template_s_deletion_and_a_workflow_that_uses_it_one_wins(at_once):
    """Whichever comes first."""
    for number in range(10):
        [[template], _] = at_once([("CreateSampleSnapshotTemplate", STILLS)], [])
        tasks = {"SampleSnapshotTaskSet": [{"Definition": template["Definition"]}]}
        workflow = {"WorkflowName": f"w{number}", "Trigger": TRIGGER, "MediaProcessTask": tasks}
        [[deleted], [created]] = at_once(
            [("DeleteSampleSnapshotTemplate", {"Definition": template["Definition"]})], [("CreateWorkflow", workflow)]
        )
        if deleted == {}:
            assert created == "ResourceNotFound.TemplateNotExist"
        else:
            assert (deleted, isinstance(created, dict)) == ("FailedOperation", True)
