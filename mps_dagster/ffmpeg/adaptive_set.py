"""What an adaptive set is to be: its streams, how they are packaged, and where they go."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mps_dagster.ffmpeg.added import AddOnAudio, AddOnSubtitle
from mps_dagster.ffmpeg.ladder import Caps, Rung
from mps_dagster.ffmpeg.overlay import Watermark
from mps_dagster.ffmpeg.thumbnails import Thumbs
from mps_dagster.streaming.packaging import Files, SegmentKey

MUXED = frozenset({"ts-segment", "ts-byterange", "mp4-segment", "mp4-byterange"})
"""Segment types of HLS with sound and picture in the same segments."""


@dataclass(frozen=True, slots=True)
class AdaptiveSet:
    """One output."""

    rungs: tuple[Rung, ...]
    caps: Caps
    kind: str
    """MPS's SegmentType."""
    manifests: tuple[Literal["HLS", "MPEG-DASH"], ...]
    master: Callable[[str], str]
    """Key of the manifest with this extension."""
    sub_stream: Callable[..., str]
    """`(number, extension, segment=False)`: key of a track's playlist, or of its segments, with `{number}`."""
    numbering: Mapping[str, Any]
    watermarks: tuple[Watermark, ...] = ()
    thumbnails: Thumbs | None = None
    own_subtitles: bool = False
    """Whether the source's subtitles are tracks, too."""
    subtitles: tuple[AddOnSubtitle, ...] = ()
    sounds: tuple[AddOnAudio, ...] = ()
    encryption: SegmentKey | None = None
    least_gain: float = 0.0
    """As in `Packaging`."""

    @property
    def muxed(self) -> bool:
        """Whether sound and picture are in the same segments."""
        return self.manifests == ("HLS",) and self.kind in MUXED

    @property
    def in_one_file(self) -> bool:
        return self.kind.endswith("byterange")

    def files(self, kind: str) -> Files:
        """What the segments of a video or audio track are."""
        if kind == "video" or self.muxed:
            return "ts" if self.kind.startswith("ts") else "mp4"
        return "packed" if "packed" in self.kind else "ts" if self.kind.startswith("ts-ts") else "mp4"
