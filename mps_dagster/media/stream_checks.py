"""Faults of the streams themselves: time stamps, lengths, and what ffmpeg complained about while it decoded."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

from mps_dagster.media.info import AudioStream, MediaInfo, VideoStream
from mps_dagster.media.inspection import Check, Finding, Thresholds, confidence
from mps_dagster.media.picture_checks import frame_step_s
from mps_dagster.media.readings import Message, Reading, together
from mps_dagster.media.sound_checks import WINDOW_S

MISSING_STEPS = 1.5
"""A step longer than this many usual ones has room for a frame that is not there."""
GAP_STEPS = 5
"""A gap is longer than this many usual steps, whatever their length."""
CUT_OFF = "the file is cut off"
UNMEASURED_S = 0.3
"""More than a codec's padding at the end of a stream."""
NEAR_S = 2.0
"""Messages come up to this long before the frames that they are about: what is read and decoded waits in queues."""
_DROPPED = "Avoiding reinit; dropping frame"
"""What ffmpeg says once, of the first frame in another format than its stream began with; it drops all of them."""
_SIZES = re.compile(r"filter context - w: (\d+) h: (\d+) .*incoming frame - w: (\d+) h: (\d+) .*pts_time: (\S+)")


class _Complaint(NamedTuple):
    check: Check
    pattern: re.Pattern[str]
    kind: str
    """Of the stream: video, audio, or empty for the file."""
    meaning: str

    @property
    def at_end(self) -> bool:
        """Whether it is about the end of the file, which the demuxer reaches long before the filters."""
        return self.meaning == CUT_OFF


_MESSAGES: tuple[tuple[Check, str, str, str], ...] = (
    ("decode_errors", r"\[vist#.*(Error submitting|corrupt decoded frame)|error while decoding MB", "video",
     "the picture could not be decoded"),
    ("decode_errors", r"\[aist#.*Error submitting", "audio", "the sound could not be decoded"),
    ("decode_errors", r"File ended prematurely|partial file", "", CUT_OFF),
    ("decode_errors", r"\[in#0.*(Packet corrupt|EBML|Invalid data|rror during demuxing)", "", "the file is damaged"),
    ("time_stamps", r"timestamp discontinuity|DTS \S+ < \S+ out of order", "", "the time stamps jump"),
)  # fmt: skip
_COMPLAINTS = tuple(
    _Complaint(check, re.compile(pattern), kind, meaning) for check, pattern, kind, meaning in _MESSAGES
)


def frame_times(frames: list[Reading], video: VideoStream, thresholds: Thresholds) -> Iterator[Finding]:
    """Frames that are missing, gaps and time stamps that go back."""
    step_s = frame_step_s(frames)
    gap_s = max(thresholds.gap_s, GAP_STEPS * step_s)
    for before, after in pairwise(frames):
        length_s = after.at_s - before.at_s
        where = {"start_s": before.at_s, "end_s": max(after.at_s, before.at_s), "stream": video.index}
        if length_s <= 0:
            message = f"the time stamps go back by {-length_s:.3f} s"
            yield Finding(check="time_stamps", confidence=100, message=message, **where)
        elif length_s >= gap_s:
            message = f"no pictures for {length_s:.2f} s"
            yield Finding(check="gaps", confidence=confidence(length_s / gap_s - 1), message=message, **where)
        elif length_s > MISSING_STEPS * step_s and not video.variable_frame_rate:
            missing = max(1, round(length_s / step_s) - 1)
            message = f"{missing} dropped frame{'s' if missing > 1 else ''}"
            yield Finding(check="dropped_frames", confidence=confidence(missing / 2), message=message, **where)


def window_times(sound: list[Reading], index: int, thresholds: Thresholds) -> Iterator[Finding]:
    """Gaps between the windows of a track, which otherwise follow one another."""
    for before, after in pairwise(sound):
        length_s = after.at_s - before.at_s - WINDOW_S
        if length_s >= thresholds.gap_s:
            yield Finding(
                check="gaps", start_s=before.at_s + WINDOW_S, end_s=after.at_s, stream=index,
                confidence=confidence(length_s / thresholds.gap_s - 1), message=f"no sound for {length_s:.2f} s",
            )  # fmt: skip


def unequal_lengths(media: MediaInfo, thresholds: Thresholds) -> Iterator[Finding]:
    """Each track of sound that begins or ends apart from the picture."""
    if media.video is None:
        return
    for track in media.audio:
        for name, picture_s, sound_s in (
            ("begin", media.video.start_s, track.start_s),
            ("end", media.video.end_s, track.end_s),
        ):
            apart_s = abs(picture_s - sound_s)
            if apart_s >= thresholds.length_s:
                yield Finding(
                    check="unequal_lengths", start_s=min(picture_s, sound_s), end_s=max(picture_s, sound_s),
                    stream=track.index, confidence=confidence(apart_s / thresholds.length_s - 1),
                    message=f"picture and sound {name} {apart_s:.2f} s apart",
                )  # fmt: skip


def size_changes(said: Iterable[Message], video: VideoStream) -> Iterator[Finding]:
    """Each graph says it."""
    for before, after, at in sorted({_size_change(message.text) for message in said} - {("", "", "")}):
        yield Finding(
            check="format_changes", start_s=float(at), end_s=video.end_s, stream=video.index, confidence=100,
            message=f"the picture changes from {before} to {after}",
        )  # fmt: skip


def format_changes(
    measured: list[Reading], stream: VideoStream | AudioStream, said: Iterable[Message], step_s: float
) -> Iterator[Finding]:
    """A stream that is measured no further than to a change of its format."""
    end_s = measured[-1].at_s + step_s if measured else stream.start_s
    if stream.end_s - end_s >= UNMEASURED_S and any(_DROPPED in message.text for message in said):
        yield Finding(
            check="format_changes", start_s=end_s, end_s=stream.end_s, stream=stream.index, confidence=100,
            message="the format changes; what comes after was not looked at",
        )  # fmt: skip


def complaints(said: Iterable[Message], media: MediaInfo) -> Iterator[Finding]:
    """Findings from ffmpeg's messages; their times are near."""
    times: dict[_Complaint, list[float]] = {}
    for message in said:
        for complaint in _COMPLAINTS:
            if complaint.pattern.search(message.text):
                times.setdefault(complaint, []).append(message.at_s)
    for complaint, heard in times.items():
        for group in together([media.duration_s] if complaint.at_end else heard, apart_s=NEAR_S):
            number = f" ({len(group)} messages)" if len(group) > 1 else ""
            yield Finding(
                check=complaint.check, start_s=group[0], end_s=max(group[-1], min(media.duration_s, group[-1] + NEAR_S)),
                stream=_index(complaint.kind, media), confidence=90, message=f"{complaint.meaning}{number}",
            )  # fmt: skip


def _size_change(text: str) -> tuple[str, str, str]:
    """Size before, size after, time; or nothing."""
    sizes = _SIZES.search(text)
    return (f"{sizes[1]} x {sizes[2]}", f"{sizes[3]} x {sizes[4]}", sizes[5]) if sizes else ("", "", "")


def _index(kind: str, media: MediaInfo) -> int | None:
    if kind == "video" and media.video:
        return media.video.index
    return media.audio[0].index if kind == "audio" and media.audio else None
