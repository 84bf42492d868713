"""What steps hand to one another, written and read by type."""

from __future__ import annotations

import errno
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest

from mps_dagster.execution.subtask import TaskResult, Upload
from mps_dagster.media.info import MediaInfo
from mps_dagster.orchestration.ops import UPSTREAM
from mps_dagster.orchestration.value_store import FolderStore
from mps_dagster.orchestration.values import TypedValues
from mps_dagster.tasks.result import SubtaskResult
from mps_dagster.workflow.model import Place, Source

MEDIA = MediaInfo(container="mov", size_bytes=1, duration_s=1)
UPLOAD = Upload(
    source=Source(bucket="inbox", key="in/a.mp4", etag="e", size_bytes=1, media=MEDIA), output=Place(bucket="outputs")
)
RESULT = SubtaskResult(
    id="0_a", task="web", type="transcode", label="a", bucket="outputs", source_uri="inbox/in/a.mp4", spec={"name": "a"}, outputs=()
)  # fmt: skip
DONE = TaskResult(
    workflow="vod", task="web", type="transcode", run_id="run", source=UPLOAD.source, results=(RESULT, RESULT)
)


@pytest.fixture
def values(tmp_path) -> TypedValues:
    return TypedValues(FolderStore(tmp_path / "values"))


def produced(step: str) -> SimpleNamespace:
    """A step's output, as an IO manager sees it: Dagster's own context would open an instance."""
    return SimpleNamespace(has_asset_key=False, step_key=step, get_identifier=lambda: ["run", step, "result"])


def read_back(values: TypedValues, step: str, declared: dg.DagsterType) -> object:
    """As a step reads it that declares this type."""
    return values.load_input(
        SimpleNamespace(has_asset_key=False, upstream_output=produced(step), dagster_type=declared, name="job")
    )


@pytest.mark.parametrize(
    ("value", "declared"),
    [
        pytest.param(UPLOAD, UPSTREAM, id="an upload"),
        pytest.param(DONE, UPSTREAM, id="the result of a task that another one works on"),
        pytest.param(None, UPSTREAM, id="of a task that made nothing"),
        pytest.param(RESULT, dg.List[SubtaskResult], id="one of the results that the assembly collects"),
        pytest.param(DONE, dg.Optional[TaskResult], id="a value that may be missing"),
    ],
)
def test_a_value_is_read_as_the_type_that_the_step_declares(values, value, declared):
    """Equal to what was handed on, down to its members."""
    values.handle_output(produced("made"), value)
    read = read_back(values, "made", declared)
    assert read == value
    assert type(read) is type(value)


def test_a_value_that_is_gone_or_of_another_version_says_what_to_do(values):
    """Not a traceback of files or of pydantic; and no retry helps."""
    values.handle_output(produced("old"), {"source": "of an older version"})
    for step in ("gone", "old"):
        with pytest.raises(dg.Failure, match="run the whole workflow on it") as failure:
            read_back(values, step, UPSTREAM)
        assert not failure.value.allow_retries
        assert failure.value.metadata["code"].value == "InvalidInput"


@pytest.mark.parametrize("first", ["a", "../../x", "a/b"])
def test_values_of_different_partitions_are_different_files(tmp_path, values, first):
    """A partition key is an object key: no path, and one may be the other's folder."""
    for partition in (first, f"{first}/c"):
        context = dg.build_output_context(
            asset_key=["vod", "source"], partition_key=partition, step_key="s", name="r", run_id="run"
        )
        values.handle_output(context, {"of": partition})
    stored = list((tmp_path / "values").rglob("*.json"))
    assert len(stored) == 2
    assert all(path.is_relative_to(tmp_path / "values" / "assets") for path in stored)


def test_a_value_on_a_full_disk_is_a_failure_that_is_retried(values, monkeypatch, tmp_path):
    """It names the step and the disk, and leaves no draft."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(
        dg.Failure, match=r"cannot keep the result of web\.subtask: no space left on the disk of"
    ) as caught:
        values.handle_output(produced("web.subtask"), UPLOAD)
    assert caught.value.allow_retries
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
