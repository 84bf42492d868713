"""What was measured of an output, as numbers that the UI plots and `mps lineage` prints."""

from __future__ import annotations

from typing import Any

from mps_dagster.execution.subtask import TaskResult
from mps_dagster.media.info import MediaInfo
from mps_dagster.orchestration.metadata import subtask_metadata, task_metadata
from mps_dagster.tasks.result import OutputObject, SubtaskResult
from mps_dagster.workflow.model import Source

TRACK = {"output": {"lufs": -23.1, "true_peak_db": -1.2, "range_lu": 5.0}}
FACTS = {
    "quality": {
        "metric": "vmaf", "mean": 93.4, "harmonic_mean": 93.2, "p1": 88.0, "worst_second": {"at_s": 7, "score": 86.5},
    },
    "quality_search": {"crf": 23.5, "cpu_s": 30.1},
    "loudness": {"tracks": [TRACK, {"output": {"lufs": -20.0, "true_peak_db": 0.0, "range_lu": 1.0}}]},
}  # fmt: skip


def result(facts: dict[str, Any], label: str = "hd") -> SubtaskResult:
    main = OutputObject(key="out.mp4", role="main", size_bytes=1, etag="e", md5="m")
    return SubtaskResult(
        id="0_hd", task="web", type="transcode", label=label, bucket="b", source_uri="b/in.mp4", spec={}, outputs=(main,),
        facts=facts,
    )  # fmt: skip


def test_figures_are_numbers():
    assert result(FACTS).figures == {
        "vmaf": 93.4, "vmaf_harmonic_mean": 93.2, "vmaf_p1": 88.0, "vmaf_worst_second": 86.5, "crf": 23.5,
        "quality_search_cpu_s": 30.1, "loudness_lufs": -23.1, "true_peak_db": -1.2, "loudness_range_lu": 5.0,
    }  # fmt: skip


def test_what_was_not_measured_has_no_figure():
    xpsnr = {"metric": "xpsnr", "mean": 41.0, "p1": 36.0, "worst_second": {"at_s": 0, "score": 35.0}}
    silent = {"tracks": [{"output": {"lufs": None, "true_peak_db": None, "range_lu": 0.0}}]}
    figures = result({"quality": xpsnr, "loudness": silent}).figures
    assert figures == {"xpsnr": 41.0, "xpsnr_p1": 36.0, "xpsnr_worst_second": 35.0, "loudness_range_lu": 0.0}
    assert result({}).figures == {}


def test_the_ui_gets_them_for_each_output():
    """On the subtask by their own names; on the asset by the output's, too, because it has one line for each."""
    media = MediaInfo(container="mov", size_bytes=1, duration_s=1)
    source = Source(bucket="b", key="in.mp4", etag="e", size_bytes=1, media=media)
    members = (result(FACTS), result({}, "sd"))
    task = TaskResult(workflow="w", task="web", type="transcode", run_id="r", source=source, results=members)
    assert subtask_metadata(members[0], "http://files")["vmaf_p1"] == 88.0
    assert task_metadata(task, "http://files")["vmaf_p1_hd"] == 88.0
    assert not [name for name in task_metadata(task, "http://files") if name.endswith("_sd")]
