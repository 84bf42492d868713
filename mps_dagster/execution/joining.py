"""Chunks of a picture as one file: they must agree in what decoders need, and none of their pictures may be lost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path

from mps_dagster.errors import OutputRejected
from mps_dagster.ffmpeg.plan import Chunks, Plan
from mps_dagster.media.info import MediaInfo
from mps_dagster.media.parameters import video_parameters

ENCODED_WHOLE = "MPS_CHUNKS_FROM_S=0 encodes sources whole"


def write_list(chunks: Chunks, folder: Path) -> None:
    """Write the list that the concat demuxer reads. Raise `OutputRejected` if one file cannot hold the chunks."""
    found = {part: video_parameters(folder / part / chunks.file) for part in chunks.parts}
    first = found[chunks.parts[0]]
    other = next((part for part, parameters in found.items() if parameters != first), None)
    if other:
        raise OutputRejected(
            f"{other} was encoded with other headers than {chunks.parts[0]}, so they cannot be joined",
            hint=ENCODED_WHOLE,
        )
    (folder / chunks.list).write_text("".join(_lines(chunks)))


def check_frames(plan: Plan, key: str, media: MediaInfo, parts: Mapping[str, MediaInfo]) -> None:
    """Raise `OutputRejected` if the video has other than the planned number of pictures, or than its chunks have."""
    frames = plan.frames or (sum(_frames(parts[part]) for part in plan.chunks.parts) if plan.chunks else 0)
    if frames and _frames(media) != frames:
        raise OutputRejected(
            f"{key} has {_frames(media)} pictures, not {frames} as planned",
            hint=f"the source may be damaged in places; {ENCODED_WHOLE}",
        )


def _frames(media: MediaInfo) -> int:
    return media.video.frames if media.video else 0


def _lines(chunks: Chunks) -> Iterable[str]:
    """Each chunk begins exactly where it was cut, however long its file says it is."""
    lengths = [f"duration {end - start}us\n" for start, end in pairwise(chunks.starts_us)]
    yield "ffconcat version 1.0\n"
    for part, length in zip(chunks.parts, [*lengths, ""], strict=True):
        yield f"file {part}/{chunks.file}\ninpoint 0\n{length}"
