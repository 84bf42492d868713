"""Judges a source by what was measured: reads the work folder, writes the report, and stops a task that requires a pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mps_dagster.errors import InspectionFailed
from mps_dagster.ffmpeg.inspection import BLACK_END, BLACK_START, FRAMES, LOOK_S, LOOKS, MESSAGES, sound_file
from mps_dagster.ffmpeg.plan import Plan
from mps_dagster.media import picture_checks, sound_checks, stream_checks
from mps_dagster.media.info import MediaInfo, VideoStream
from mps_dagster.media.inspection import Finding, Thresholds, Verdict
from mps_dagster.media.readings import Message, messages, read
from mps_dagster.tasks.result import SubtaskResult

MAX_MESSAGES_BYTES = 16 * 2**20
"""A damaged file can make a decoder complain without end."""


def inspect(plan: Plan, media: MediaInfo, folder: Path) -> dict[str, Any]:
    """Write the report of a plan with an inspection; return the facts of its result. Others have none."""
    if plan.inspection is None:
        return {}
    verdict = Verdict.of(plan.inspection, _findings(plan.inspection.thresholds, media, folder), media)
    (folder / plan.outputs[0].file).write_text(verdict.model_dump_json(indent=2))
    return {"inspection": verdict.model_dump(mode="json")}


def check_passed(plan: Plan, result: SubtaskResult) -> None:
    """Raise `InspectionFailed` if the source had to pass its inspection and did not. The report is published by then."""
    verdict = result.verdict
    if plan.inspection and plan.inspection.required and verdict and not verdict.passed:
        raise InspectionFailed(
            f"the source did not pass its inspection: {verdict.summary}",
            hint=f"the report is {result.bucket}/{result.main[0].key}",
        )


@contextmanager
def message_log(folder: Path, *, kept: bool) -> Iterator[Callable[[str], None] | None]:
    """Takes ffmpeg's messages into the work folder, if an inspection is to read them."""
    if not kept:
        yield None
        return
    with (folder / MESSAGES).open("w") as log:

        def write(line: str) -> None:
            if log.tell() < MAX_MESSAGES_BYTES:
                log.write(f"{line}\n")

        yield write


def _findings(thresholds: Thresholds, media: MediaInfo, folder: Path) -> Iterator[Finding]:
    with (folder / MESSAGES).open(errors="replace") as lines:
        said = list(messages(lines))
    if media.video:
        yield from _picture(thresholds, media.video, folder, said)
    for track in media.audio:
        sound = read(folder / sound_file(track.index))
        yield from sound_checks.silent_parts(sound, track, thresholds)
        yield from sound_checks.loudness(sound, track, thresholds)
        yield from sound_checks.clipped_parts(sound, track, thresholds)
        yield from sound_checks.opposite_parts(sound, track, thresholds)
        yield from stream_checks.window_times(sound, track.index, thresholds)
        yield from stream_checks.format_changes(sound, track, said, sound_checks.WINDOW_S)
    yield from stream_checks.unequal_lengths(media, thresholds)
    yield from stream_checks.complaints(said, media)


def _picture(thresholds: Thresholds, video: VideoStream, folder: Path, said: Sequence[Message]) -> Iterator[Finding]:
    frames, looks = read(folder / FRAMES), read(folder / LOOKS)
    starts, ends = read(folder / BLACK_START), read(folder / BLACK_END)
    yield from picture_checks.black_parts(starts, ends, video, thresholds)
    yield from picture_checks.frozen_parts(frames, video, thresholds)
    yield from picture_checks.doubled_frames(frames, video, thresholds)
    yield from picture_checks.looks_bad(looks, video, thresholds, LOOK_S)
    yield from picture_checks.black_borders(looks, video, thresholds, LOOK_S)
    yield from stream_checks.frame_times(frames, video, thresholds)
    yield from stream_checks.size_changes(said, video)
    yield from stream_checks.format_changes(frames, video, said, picture_checks.frame_step_s(frames))
