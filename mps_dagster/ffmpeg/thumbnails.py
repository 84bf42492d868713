"""Small pictures for the seek bar of an adaptive set."""

from __future__ import annotations

import math

from pydantic import Field

from mps_dagster.ffmpeg.plan import Expected, OutputFile, Part, Plan
from mps_dagster.ffmpeg.sheets import Sheets, sheets_command
from mps_dagster.ffmpeg.size import pictures_bytes
from mps_dagster.frozen import Facts
from mps_dagster.media.geometry import Geometry, fit
from mps_dagster.media.info import MediaInfo, VideoStream

NAME = "thumbnails"


class Thumbs(Facts):
    """Small pictures for the seek bar."""

    interval_s: int = Field(10, ge=1, le=3600, description="Seconds from one to the next.")
    width: int = Field(160, ge=32, le=640, description="Pixels of one; the height follows from the source.")
    columns: int = Field(10, ge=1, le=20, description="Small pictures from left to right of a sheet.")
    rows: int = Field(10, ge=1, le=20, description="Small pictures from top to bottom of a sheet.")

    def geometry(self, video: VideoStream) -> Geometry:
        """Of one small picture."""
        return fit(video.display_size, width=self.width, adaptive="close", step=2)


def thumbnails_part(thumbs: Thumbs, media: MediaInfo, video: VideoStream) -> Part:
    """The sheets, with the last picture for times after the end of the video."""
    count = max(1, math.ceil(video.duration_s / thumbs.interval_s))
    times = tuple(video.start_s + number * thumbs.interval_s for number in range(count))
    sheets = Sheets(times, thumbs.geometry(video), thumbs.columns, thumbs.rows, "jpg")
    expected = Expected(kind="image", width=sheets.size[0], height=sheets.size[1])
    plan = Plan(
        commands=(sheets_command(sheets, media, video),),
        outputs=tuple(OutputFile(file=file, key=file, expected=expected) for file in sheets.files),
        duration_s=media.duration_s,
        estimated_bytes=pictures_bytes("jpg", sheets.size, sheets.count),
    )
    return Part(name=NAME, plan=plan)
