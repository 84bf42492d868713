"""The pages' documents and files, over a bucket in memory."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mps_dagster.control.task_run import SubtaskState, TaskRun
from mps_dagster.execution.assemble import manifests
from mps_dagster.pages.page import KEEP_RUNS, page_of
from mps_dagster.pages.site import (
    KEEP_ENTRIES,
    page_dir,
    publish_page,
    read_index,
    read_page,
    remove_pages,
    static_files,
    version,
)
from mps_dagster.storage.memory import MemoryBucket
from mps_dagster.tasks.result import OutputObject, SubtaskResult

FOLDER = page_dir("inbox", "a.mp4")


def output(*keys: str, **facts) -> SubtaskResult:
    objects = tuple(OutputObject(key=key, role="main", size_bytes=10, etag="e", md5="m", width=640) for key in keys)
    return SubtaskResult(
        id="0_x", task="web", type="transcode", label="x", bucket="outputs", source_uri="inbox/a.mp4", spec={}, outputs=objects,
        facts=facts,
    )  # fmt: skip


def subtask(result: SubtaskResult | None = None, **more) -> SubtaskState:
    status = "SUCCESS" if result else "FAIL"
    return SubtaskState(
        **{"task": "web", "id": "0_x", "type": "transcode", "label": "x", "status": status, "result": result, **more}
    )


def run(serial: int = 1, *subtasks: SubtaskState, **more) -> TaskRun:
    digits = f"{serial:032x}"
    facts = {
        "task_id": f"mps-WorkflowTask-{digits}", "run_id": digits, "workflow": "vod", "state": "FINISH", "outcome": "SUCCESS",
        "code": "", "number": 0, "message": "", "created_s": float(serial), "started_s": 1.0, "ended_s": serial + 10.0,
        "bucket": "inbox", "key": "a.mp4", "priority": 0, "source": None, "subtasks": subtasks,
    }  # fmt: skip
    return TaskRun(**{**facts, **more})


@pytest.fixture
def bucket() -> MemoryBucket:
    return MemoryBucket("outputs")


@pytest.mark.parametrize(
    ("keys", "play"),
    [
        (("a.mp4",), "a.mp4"),
        (("a.webm", "b.mp4"), "a.webm"),
        (("a.mp4", "a.mpd"), "a.mpd"),
        (("a.m3u8", "a.mpd"), "a.m3u8"),
        (("a.mp3",), "a.mp3"),
        (("a.flv",), ""),
        (("a.mkv",), ""),
        (("a.jpg", "a.vtt"), ""),
    ],
)
def test_which_file_of_an_output_a_browser_plays(keys, play):
    [shown] = page_of(run(1, subtask(output(*keys))), "host").runs[0].outputs
    assert shown.play == play


def test_stills_have_the_times_of_their_pictures():
    [shown] = page_of(run(1, subtask(output("a.jpg", "b.jpg", time_offsets=[0.0, 12.5]))), "host").runs[0].outputs
    assert [file.at_s for file in shown.files] == [0.0, 12.5]


def test_a_page_keeps_other_runs_and_replaces_the_workflows_earlier_one(bucket):
    for number, workflow in enumerate(["vod", "process_media", "news", "vod", "process_media"], start=1):
        publish_page(page_of(run(number, workflow=workflow), "host"), bucket)
    page = read_page(bucket, FOLDER.split("/")[2])
    assert [(one.workflow, one.created_s) for one in page.runs] == [
        ("process_media", 5.0), ("vod", 4.0), ("news", 3.0), ("process_media", 2.0)
    ]  # fmt: skip


def test_a_page_does_not_grow_for_ever(bucket):
    for number in range(1, KEEP_RUNS + 4):
        publish_page(page_of(run(number, workflow="process_media"), "host"), bucket)
    page = read_page(bucket, FOLDER.split("/")[2])
    assert (len(page.runs), page.runs[0].created_s) == (KEEP_RUNS, KEEP_RUNS + 3)


def test_the_index_has_each_source_once_the_newest_first(bucket):
    for number, key in enumerate(["a.mp4", "b.mp4", "a.mp4"], start=1):
        publish_page(page_of(run(number, key=key), "host"), bucket)
    assert [(entry.key, entry.ended_s) for entry in read_index(bucket).entries] == [("a.mp4", 13.0), ("b.mp4", 12.0)]


def test_the_index_is_bounded(bucket):
    entry = json.loads(bucket.read(publish_page(page_of(run(), "host"), bucket).replace("index.html", "page.json")))
    assert entry["key"] == "a.mp4"
    index = read_index(bucket)
    for number in range(KEEP_ENTRIES + 5):
        [first] = index.entries[-1:]
        index = index.with_entry(first.model_copy(update={"digest": str(number), "ended_s": 100.0 + number}))
    assert (len(index.entries), index.entries[0].digest) == (KEEP_ENTRIES, str(KEEP_ENTRIES + 4))


@pytest.mark.parametrize(
    ("state", "word"),
    [
        ({}, "done"),
        ({"state": "WAITING"}, "waiting"),
        ({"state": "PROCESSING"}, "processing"),
        ({"number": 70000, "message": "it broke"}, "failed"),
    ],
)
def test_the_state_of_a_source_in_a_word(bucket, state, word):
    publish_page(page_of(run(1, **state), "host"), bucket)
    [entry] = read_index(bucket).entries
    assert (entry.state, entry.states, entry.problem) == (word, {"vod": word}, state.get("message", ""))


def test_the_poster_is_of_the_largest_video_without_a_watermark(bucket):
    def made(name: str, width: int, kind: str = "transcode") -> SubtaskState:
        result = output(f"{name}.mp4")
        sized = tuple(one.model_copy(update={"width": width}) for one in result.outputs)
        result = result.model_copy(update={"outputs": sized, "preview_key": f"{name}.jpg", "type": kind})
        return replace(subtask(result), type=kind, label=name)

    publish_page(page_of(run(1, made("s", 320), made("l", 640), made("w", 1280, "watermark")), "host"), bucket)
    assert read_index(bucket).entries[0].poster == "l.jpg"


@pytest.mark.parametrize("content", [b"{}", b'{"version": 9}', b"not JSON"])
def test_a_document_of_another_version_is_written_anew(bucket, content):
    for key in (f"{FOLDER}page.json", "_mps/pages/index.json"):
        bucket.write(key, content)
    publish_page(page_of(run(), "host"), bucket)
    assert len(read_index(bucket).entries) == len(read_page(bucket, FOLDER.split("/")[2]).runs) == 1


def test_all_that_a_page_loads_is_in_the_bucket(bucket):
    key = publish_page(page_of(run(), "host"), bucket)
    html = bucket.read(key).decode()
    loaded = re.findall(r'(?:src|href)="([^"#]+)"', html)
    assert {f"../static/{version()}/{name}" for name in ("player/shaka-player.ui.js", "source.js", "style.css")} <= set(
        loaded
    )
    for address in loaded:
        if address.startswith("../"):
            bucket.head(f"_mps/pages/{address.removeprefix('../')}")
    for path in static_files():
        bucket.head(f"_mps/pages/static/{version()}/{path}")


@pytest.mark.parametrize("path", [path for path in static_files() if not path.endswith((".ui.js", "LICENSE"))])
def test_no_file_of_the_pages_names_another_server(path):
    text = re.sub(r"http://www\.w3\.org/[\w/]+", "", static_files()[path].read_text())
    assert not re.findall(r"(?<!felipefialho)https?://[^\s\"')]+", re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL))


def test_a_page_is_removed_when_it_is_old_and_no_manifest_is_left(bucket):
    """Neither an old one of outputs that exist, nor a new one of a run that made none."""
    for key in ("kept.mp4", "gone.mp4"):
        publish_page(page_of(run(1, key=key), "host"), bucket)
    bucket.write(f"{manifests('inbox', 'kept.mp4')}vod.1/web.json", b"{}")
    assert remove_pages(bucket, datetime.now(UTC) - timedelta(days=1)) == 0
    assert remove_pages(bucket, datetime.now(UTC) + timedelta(days=1)) == 1
    assert [entry.key for entry in read_index(bucket).entries] == ["kept.mp4"]
    assert [info.key for info in bucket.list(page_dir("inbox", "gone.mp4"))] == []
    assert len(list(bucket.list(page_dir("inbox", "kept.mp4")))) == 2
