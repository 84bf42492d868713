"""The measures of an encoded video: its scoring, and the search of its CRF, as commands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import ffmpeg

from mps_dagster.errors import InvalidConfiguration
from mps_dagster.ffmpeg.codecs import MUXERS, VIDEO_ENCODERS
from mps_dagster.ffmpeg.colour import output_matrix
from mps_dagster.ffmpeg.crf import sample_parts, subsample
from mps_dagster.ffmpeg.encode import VideoTemplate, keeps_hdr, video_options
from mps_dagster.ffmpeg.measures import AFTER, BEFORE, Argv, CrfSearch, Sample, Scoring
from mps_dagster.ffmpeg.picture import Stream, arguments
from mps_dagster.ffmpeg.quality import Picture, Quality, reference_size, scoring
from mps_dagster.media.geometry import Geometry
from mps_dagster.media.info import VideoStream
from mps_dagster.media.sampling import clamp_time
from mps_dagster.media.timerange import TimeRange

SAMPLE = "sample.mkv"
COMPARED_SIDE = 960
"""Pixels, at most, of the pictures of a comparison."""


@dataclass(frozen=True, slots=True)
class MeasuredVideo:
    """What measures need to know of an encoded video."""

    container: str
    template: VideoTemplate
    video: VideoStream
    part: TimeRange
    geometry: Geometry
    picture: Callable[..., Stream]
    """`(part, geometry, is_sample, marked=True)`: what the encoder gets of a part, in a geometry. Of a sample, watermarks may
    be missing; if not `marked`, all are."""
    key_every_s: float = 0.0
    """As in `video_options`."""

    def scoring(self) -> Scoring | None:
        """Of the finished output; None if it is not asked for."""
        quality = self.template.scored
        if quality is None:
            return None
        return self._compared(quality, self.part, output_file(self.container)["v:0"])

    def comparison(self) -> tuple[Argv, ...]:
        """Write a picture, a quarter into the part, without and with the watermarks."""
        at_s = clamp_time(self.video, self.part.start_s + self.part.duration_s / 4)
        # 1 ms early, as for stills: times are rounded.
        moment = TimeRange(max(self.part.start_s, at_s - 0.001), self.part.end_s, self.part.span)
        files = {BEFORE: False, AFTER: True}
        return tuple(self._still(moment, file, marked=marked) for file, marked in files.items())

    def _still(self, moment: TimeRange, file: str, *, marked: bool) -> Argv:
        ratio = min(1.0, COMPARED_SIDE / max(self.geometry.canvas))
        width, height = (max(1, round(side * ratio)) for side in self.geometry.canvas)
        picture = self.picture(moment, self.geometry, True, marked=marked)
        # As JPEG has it, whatever the output has.
        picture = picture.filter("scale", width, height, out_color_matrix="bt601", out_range="pc").filter(
            "format", "yuvj420p"
        )
        return arguments(
            ffmpeg.output(picture, f"file:{file}", f="image2", update=1, **{"frames:v": 1, "c:v": "mjpeg", "q:v": 3})
        )

    def crf_search(self) -> tuple[CrfSearch, ...]:
        """One, or none if no score is to be reached."""
        template, video = self.template, self.video
        if template.quality_target is None:
            return ()
        encoder = VIDEO_ENCODERS[template.codec]
        # Sound may be longer.
        shown = TimeRange(max(self.part.start_s, video.start_s), min(self.part.end_s, video.end_s), self.part.span)
        search = CrfSearch(
            target=template.quality_target, first=encoder.default_crf, step=encoder.crf_step,
            lowest=encoder.crf_range[0], highest=encoder.crf_range[1],
            samples=tuple(self._sample(part) for part in sample_parts(shown)),
        )  # fmt: skip
        return (search,)

    def _sample(self, part: TimeRange) -> Sample:
        options = video_options(self.template, self.video, self.container, self.key_every_s)
        # Matroska has no names for codecs.
        options.pop("tag:v", None)
        picture = self.picture(part, self.geometry, True)
        encode = arguments(ffmpeg.output(picture, f"file:{SAMPLE}", f="matroska", map_metadata=-1, **options))
        # Renditions that are compared with the source are searched for as any output.
        own = {"subsample": subsample(part), "against": "output"}
        quality = (self.template.scored or Quality()).model_copy(update=own)
        encoded = ffmpeg.input(f"file:{SAMPLE}", f="matroska", protocol_whitelist="file,pipe")["v:0"]
        return Sample(encode=encode, scoring=self._compared(quality, part, encoded, is_sample=True))

    def _compared(self, quality: Quality, part: TimeRange, encoded: Stream, *, is_sample: bool = False) -> Scoring:
        geometry = self._full_size(quality) if quality.against == "source" else self.geometry
        reference = Picture(self.picture(part, geometry, is_sample), geometry.canvas)
        return scoring(
            quality, reference, Picture(encoded, self.geometry.canvas),
            pixel_format="yuv420p10le" if self.template.bit_depth == 10 else "yuv420p",
            space=output_matrix(self.video, sdr=not keeps_hdr(self.template)), duration_s=part.duration_s,
        )  # fmt: skip

    def _full_size(self, quality: Quality) -> Geometry:
        """The source's picture at the size at which it is compared."""
        if self.geometry.inner != self.geometry.canvas:
            raise InvalidConfiguration(
                "the output has borders or cropped sides, which the source's picture has not, so they cannot be compared",
                hint="set quality.against to output, or leave out least_gain, or width or height",
            )
        size = reference_size(self.geometry.canvas, quality.short_side)
        return replace(self.geometry, canvas=size, inner=size)


def output_file(container: str) -> Stream:
    """The finished output, as an input."""
    muxer = MUXERS[container]
    # The muxer for m4a has no demuxer of its name.
    demuxer = "mov" if muxer.format == "ipod" else muxer.format
    return ffmpeg.input(f"file:out.{muxer.extension}", f=demuxer, protocol_whitelist="file,pipe")
