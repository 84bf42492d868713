"""The document behind a source's page: the source, and its task runs with all their outputs. Pure."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from mps_dagster.control.task_run import SubtaskState, TaskRun
from mps_dagster.frozen import Facts
from mps_dagster.storage.keys import content_type_of
from mps_dagster.tasks.result import OutputObject, SubtaskResult
from mps_dagster.workflow.model import Source
from mps_dagster.workflow.naming import PROCESS_MEDIA

KEEP_RUNS = 12
"""Task runs on one page. Of a workflow only the newest is shown, as its outputs replace the earlier ones'."""
SHOWN_FILES = 120
"""Files of one output; a series of pictures may have thousands."""
PLAYED = ("video/mp4", "video/webm", "audio/mp4", "audio/mpeg", "audio/ogg", "audio/wav", "audio/flac", "audio/aac")
"""What browsers play without a script."""
STREAMED = ("application/vnd.apple.mpegurl", "application/dash+xml")


class File(Facts):
    """One published object."""

    key: str
    type: str
    """Its media type."""
    size_bytes: int
    width: int | None = None
    height: int | None = None
    duration_s: float | None = None
    bitrate_bps: int | None = None
    codecs: str = ""
    at_s: float | None = None
    """Of a still: the time of its picture in the source."""


class Output(Facts):
    """One output: a subtask, and what it published."""

    task: str
    label: str
    type: str
    status: Literal["PROCESSING", "SUCCESS", "FAIL"]
    progress: float
    """0 to 1."""
    speed: float | None = None
    """Media seconds per second."""
    left_s: float | None = None
    started_s: float | None = None
    ended_s: float | None = None
    """Unix seconds."""
    code: str = ""
    message: str = ""
    hint: str = ""
    bucket: str = ""
    files: tuple[File, ...] = ()
    file_count: int = 0
    size_bytes: int = 0
    preview: str = ""
    """The key of a picture of the output."""
    comparison: dict[str, str] = Field(default_factory=dict)
    """Of a video with watermarks: the keys of a picture `before` and `after` they were laid over it."""
    play: str = ""
    """The key of the file that a player opens; empty if browsers play none of them."""
    thumbnails: str = ""
    """The key of the WebVTT index of a sprite."""
    figures: dict[str, float] = Field(default_factory=dict)
    """What was measured, such as `vmaf`."""
    verdict: str = ""
    findings: tuple[dict[str, Any], ...] = ()
    commands: tuple[str, ...] = ()
    ffmpeg: str = ""
    made_from: str = ""
    """The object that ffmpeg read: the upload, or another task's output."""
    made_by: str = ""
    """The Dagster run that made it; an earlier one if the output was up to date."""
    reused: bool = False
    cpu_s: float = 0.0
    wall_s: float = 0.0
    fingerprint: str = ""
    parts: tuple[Output, ...] = ()
    """Subtasks whose files went into this output."""


class Run(Facts):
    """One task run: a workflow, or a ProcessMedia, on the source."""

    task_id: str
    run_id: str
    workflow: str
    state: Literal["WAITING", "PROCESSING", "FINISH"]
    outcome: str
    """Dagster's status."""
    failed: bool
    progress: float
    """0 to 1."""
    left_s: float | None
    created_s: float
    started_s: float | None
    ended_s: float | None
    attempts: int
    host: str
    code: str
    message: str
    hint: str
    manifests: tuple[str, ...]
    outputs: tuple[Output, ...]

    @property
    def state_word(self) -> str:
        """waiting, processing, failed or done."""
        return "failed" if self.failed else {"FINISH": "done"}.get(self.state, self.state.lower())


class SourceFacts(Facts):
    """What is known of the upload."""

    size_bytes: int
    etag: str
    duration_s: float
    bitrate_bps: int
    width: int | None = None
    height: int | None = None
    frame_rate: float | None = None
    codecs: str = ""
    hdr: str = ""


class Page(Facts):
    """Everything that the page of one source shows. `bucket` and `key` are the upload's."""

    bucket: str
    key: str
    source: SourceFacts | None = None
    runs: tuple[Run, ...] = ()
    """The newest first."""

    @property
    def state(self) -> str:
        """Of the newest task run."""
        return self.runs[0].state_word

    @property
    def poster(self) -> tuple[str, str]:
        """Bucket and key of a picture, of a video if there is one; empty if there is none."""
        outputs = [output for run in self.runs for output in run.outputs if output.preview]
        best = max(
            outputs, key=lambda one: (bool(one.play), one.type != "watermark", one.files[0].width or 0), default=None
        )
        return (best.bucket, best.preview) if best else ("", "")

    def with_runs(self, earlier: Page | None) -> Page:
        """This page, and below its runs the earlier ones that it does not replace."""
        if earlier is None:
            return self
        replaced = {_place(run) for run in self.runs}
        kept = [run for run in earlier.runs if _place(run) not in replaced]
        runs = sorted((*self.runs, *kept), key=lambda run: run.created_s, reverse=True)
        return self.model_copy(update={"source": self.source or earlier.source, "runs": tuple(runs[:KEEP_RUNS])})


def page_of(run: TaskRun, host: str) -> Page:
    """The page of a task run's source, with this run alone."""
    return Page(bucket=run.bucket, key=run.key, source=_source(run.source), runs=(_run(run, host),))


def _place(run: Run) -> str:
    """Runs of the same place replace each other."""
    return run.task_id if run.workflow == PROCESS_MEDIA else run.workflow


def _source(source: Source | None) -> SourceFacts | None:
    if source is None:
        return None
    media, video = source.media, source.media.video
    size = video.display_size if video else (None, None)
    return SourceFacts(
        size_bytes=source.size_bytes, etag=source.etag, duration_s=media.duration_s, bitrate_bps=media.bitrate_bps,
        width=size[0], height=size[1], codecs=media.codecs, hdr=video.hdr if video else "",
        frame_rate=round(float(video.frame_rate), 3) if video and video.frame_rate else None,
    )  # fmt: skip


def _run(run: TaskRun, host: str) -> Run:
    outputs = tuple(_output(subtask) for subtask in run.subtasks)
    return Run(
        task_id=run.task_id, run_id=run.run_id, workflow=run.workflow, state=run.state, outcome=run.outcome,
        failed=run.failed, progress=run.progress, left_s=run.left_s,
        created_s=run.created_s, started_s=run.started_s, ended_s=run.ended_s, attempts=run.attempts,
        host=host, code=run.code, message=run.message, hint=run.hint,
        manifests=tuple(run.manifests), outputs=outputs,
    )  # fmt: skip


def _output(subtask: SubtaskState) -> Output:
    state = {
        "task": subtask.task, "label": subtask.label, "type": subtask.type, "status": subtask.status,
        "progress": subtask.progress, "speed": subtask.speed, "left_s": subtask.left_s,
        "started_s": subtask.started_s, "ended_s": subtask.ended_s,
        "code": subtask.code, "message": subtask.message, "hint": subtask.hint, "bucket": subtask.bucket,
        "parts": tuple(_output(part) for part in subtask.parts),
    }  # fmt: skip
    return Output.model_validate({**state, **(_published(subtask.result) if subtask.result else {})})


def _published(result: SubtaskResult) -> dict[str, Any]:
    times = iter(result.facts.get("time_offsets") or ())
    files = tuple(_file(output, next(times, None)) for output in result.outputs[:SHOWN_FILES])
    return {
        "bucket": result.bucket, "files": files, "file_count": result.files, "size_bytes": result.size_bytes,
        "preview": result.preview_key, "comparison": result.facts.get("comparison", {}),
        "play": next((f.key for kinds in (STREAMED, PLAYED) for f in files if f.type in kinds), ""),
        "thumbnails": result.facts.get("web_vtt_path", ""),
        "figures": result.figures,
        "verdict": result.verdict.summary if result.verdict else "",
        "findings": tuple(item.model_dump(mode="json") for item in result.verdict.findings) if result.verdict else (),
        "commands": result.commands, "ffmpeg": result.ffmpeg_version, "made_from": result.source_uri,
        "made_by": result.run_id, "reused": result.reused, "cpu_s": result.whole_cpu_s, "wall_s": result.wall_s,
        "fingerprint": result.fingerprint,
    }  # fmt: skip


def _file(output: OutputObject, at_s: float | None) -> File:
    media = output.media
    return File(
        key=output.key, type=content_type_of(output.key), size_bytes=output.size_bytes, width=output.width,
        height=output.height, duration_s=media.duration_s if media else None,
        bitrate_bps=media.bitrate_bps if media else None, codecs=media.codecs if media else "", at_s=at_s,
    )  # fmt: skip
