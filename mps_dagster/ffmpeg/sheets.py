"""Sheets of small pictures at even steps, for image sprites and for the thumbnails of adaptive sets."""

from __future__ import annotations

import math
from dataclasses import dataclass

import ffmpeg

from mps_dagster.ffmpeg.codecs import PICTURES
from mps_dagster.ffmpeg.colour import to_picture_format
from mps_dagster.ffmpeg.picture import arguments, rgb_picture
from mps_dagster.ffmpeg.stills import sample_frames
from mps_dagster.media.geometry import Geometry, Size
from mps_dagster.media.info import MediaInfo, VideoStream
from mps_dagster.media.sampling import decode_method


@dataclass(frozen=True, slots=True)
class Sheets:
    """The pictures to take, and how they are laid out."""

    times: tuple[float, ...]
    """Seconds of the source, at even steps."""
    geometry: Geometry
    """Of one small picture."""
    columns: int
    rows: int
    picture: str
    """A key of `codecs.PICTURES`."""

    @property
    def size(self) -> Size:
        """Of a sheet."""
        width, height = self.geometry.canvas
        return width * self.columns, height * self.rows

    @property
    def count(self) -> int:
        return math.ceil(len(self.times) / (self.columns * self.rows))

    @property
    def files(self) -> tuple[str, ...]:
        """In the work folder."""
        return tuple(f"sheet_{number:04d}.{self.picture}" for number in range(self.count))


def sheets_command(sheets: Sheets, media: MediaInfo, video: VideoStream) -> tuple[str, ...]:
    """Writes the files; the last one may be partly black."""
    geometry, times = sheets.geometry, sheets.times
    format = PICTURES[sheets.picture]
    frames = sample_frames(media, video, times, keyframes=decode_method(video, times) == "keyframes")
    cells = rgb_picture(frames, video, geometry, keep_alpha=bool(format.alpha_format))
    sheet = cells.filter("tile", f"{sheets.columns}x{sheets.rows}")
    output = ffmpeg.output(
        to_picture_format(sheet, video, format),
        f"file:sheet_%04d.{sheets.picture}",
        **{"f": "image2", "start_number": 0, "c:v": format.codec, **format.args},
    )
    return arguments(output)
