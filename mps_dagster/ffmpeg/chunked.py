"""The plan of one file whose picture is encoded in chunks: a part for each, then one command that joins them with the sound.

The sound is encoded whole by that command, from the source: chunks of it would leave gaps, and it takes seconds.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import ffmpeg

from mps_dagster.ffmpeg.chunks import FINE, Chunk, Chunking, Grid, chunks
from mps_dagster.ffmpeg.codecs import STREAM, Options
from mps_dagster.ffmpeg.encode import HVC1_CONTAINERS, VideoTemplate, keeps_alpha, video_options
from mps_dagster.ffmpeg.encoding import (
    HLS_GAP_S,
    Encoding,
    Selection,
    encoding_plan,
    output_command,
    rendition,
    select,
    video_track,
)
from mps_dagster.ffmpeg.overlay import attachments
from mps_dagster.ffmpeg.picture import Stream, arguments, seconds
from mps_dagster.ffmpeg.plan import Chunks, Expected, OutputFile, Part, Plan
from mps_dagster.media.info import MediaInfo, VideoStream
from mps_dagster.streaming.packaging import PART_FILE

LIST = "chunks.txt"
FORMATS = "concat,mov,mp4,m4a,3gp,3g2,mj2"


def chunked_plan(encoding: Encoding, media: MediaInfo, chunking: Chunking) -> Plan | None:
    """None if the output is encoded whole: it is short, has no encoded picture, or its chunks could differ from the whole."""
    selection = select(encoding, media)
    pieces = _pieces(encoding, media, selection, chunking)
    if not pieces:
        return None
    whole = encoding_plan(encoding, media)
    parts = tuple(_part(encoding, media, selection, chunk, whole) for chunk in pieces)
    joined = Chunks(
        list=LIST, parts=tuple(part.name for part in parts), file=PART_FILE,
        starts_us=tuple(round(chunk.start * 1_000_000) for chunk in pieces),
    )  # fmt: skip
    command = output_command(encoding, media, selection, _joined_track(encoding, selection))
    # A score compares with the picture that the encoder was given, watermarks included.
    used = whole.attachments if whole.scoring else ()
    # A comparison would need all attachments where the chunks are joined.
    joining = {"commands": (command,), "attachments": used, "parts": parts, "chunks": joined, "comparison": ()}
    return whole.model_copy(update=joining)


def _pieces(encoding: Encoding, media: MediaInfo, selection: Selection, chunking: Chunking) -> tuple[Chunk, ...]:
    template, video, part = encoding.video, selection.video, selection.part
    if template is None or video is None or encoding.copies_video or not chunking.suits(media, video):
        return ()
    if _may_differ(encoding, selection, template, video):
        return ()
    start_s, end_s = (min(max(at, part.start_s), part.end_s) - part.start_s for at in (video.start_s, video.end_s))
    return chunks(start_s, end_s, _grid(encoding, template, video, start_s), chunking)


def _may_differ(encoding: Encoding, selection: Selection, template: VideoTemplate, video: VideoStream) -> bool:
    """Whether chunks of this output could differ from the whole."""
    if template.quality_target is not None:
        # The quality is found for the whole.
        return True
    if keeps_alpha(template, video):
        # MP4 has no transparency.
        return True
    if encoding.fills and selection.before_picture_s > HLS_GAP_S:
        # Black before the first picture moves the others by a part of a frame.
        return True
    if encoding.forced_every_s and video.start_s < selection.part.start_s:
        # Segments count from the first frame, and nobody knows which one that is.
        return True
    # Matroska names one rate for the whole file, which only the encoder of the whole knows.
    return encoding.container in ("mkv", "webm") and video.variable_frame_rate and not template.frame_rate(video)


def _grid(encoding: Encoding, template: VideoTemplate, video: VideoStream, start_s: float) -> Grid:
    converted = template.frame_rate(video)
    rate = converted or (video.frame_rate if video.rounded_times else None)
    ticks = rate or FINE
    control = video_options(template, video, STREAM)
    grid = Grid(
        key_every_s=Fraction(1),
        zero=Fraction(round(start_s * ticks)) / ticks,
        rate=rate,
        converted=bool(converted),
        warm_up="maxrate" in control or "crf" not in control,
    )
    if encoding.forced_every_s:
        # The very number that the encoder gets.
        return replace(grid, forced=True, key_every_s=Fraction(f"{encoding.forced_every_s:.9g}"))
    average = template.average_rate(video)
    frames = template.gop if template.gop_unit == "frame" else round(template.gop * average)
    if frames and (rate or not video.variable_frame_rate):
        return replace(grid, key_every_s=frames / average)
    return grid


def _part(encoding: Encoding, media: MediaInfo, selection: Selection, chunk: Chunk, whole: Plan) -> Part:
    video, template = selection.video, encoding.video
    assert video is not None  # noqa: S101  (it has pieces)
    assert template is not None  # noqa: S101
    geometry = rendition(template, video)
    streams, options = video_track(encoding, media, selection, geometry, chunk)
    if template.codec == "h264":
        # Otherwise x264 may write other headers for each chunk.
        options["x264-params"] = "stitchable=1"
    if template.codec == "h265" and not encoding.forced_every_s:
        # Otherwise a forced key frame may be one that pictures after it reach across.
        options["x265-params"] = f"{options['x265-params']}:open-gop=0"
    if not chunk.first:
        options |= _key_frames(chunk)
    to_end_s = selection.part.duration_s if chunk.last else float(chunk.end)
    lasts_s = to_end_s - float(chunk.start)
    width, height = geometry.canvas
    expected = Expected(
        kind="video", width=width, height=height, duration_s=lasts_s, tolerance_s=_tolerance_s(chunk, selection, whole)
    )
    plan = Plan(
        commands=(_chunk_command(streams, options, chunk),),
        outputs=(OutputFile(file=PART_FILE, key=PART_FILE, expected=expected),),
        duration_s=to_end_s,
        attachments=attachments(encoding.watermarks),
        frames=chunk.frames,
        estimated_bytes=round(whole.estimated_bytes * lasts_s / whole.duration_s),
    )
    return Part(name=chunk.name, plan=plan)


def _key_frames(chunk: Chunk) -> Options:
    """Key frames at the times of the whole; what is encoded before the first of them is dropped."""
    options: Options = {"force_key_frames": ",".join(chunk.key_times)}
    if chunk.dropped_before:
        options["bsf:v"] = f"noise=drop=lt(pts*tb\\,{chunk.dropped_before})"
    return options


def _tolerance_s(chunk: Chunk, selection: Selection, whole: Plan) -> float:
    """The picture may begin late or end early; pictures of a variable rate may be far from a border."""
    slack_s = 0.0
    if chunk.first:
        slack_s += selection.before_picture_s
    if chunk.last:
        slack_s += selection.after_picture_s + whole.outputs[0].expected.tolerance_s
    if selection.video and selection.video.variable_frame_rate:
        slack_s += selection.video.longest_key_gap_s
    return slack_s + 0.5


def _chunk_command(streams: list[Stream], options: Options, chunk: Chunk) -> tuple[str, ...]:
    """Encodes a chunk with the times of the whole, and writes it as beginning at 0."""
    if chunk.start:
        options["output_ts_offset"] = seconds(-float(chunk.start))
    output = ffmpeg.output(
        *streams, f"file:{PART_FILE}", f="mp4", map_metadata=-1, map_chapters=-1, movie_timescale=chunk.grid.timescale, **options
    )  # fmt: skip
    return arguments(output)


def _joined_track(encoding: Encoding, selection: Selection) -> tuple[list[Stream], Options]:
    # nofind_stream_info: ffmpeg would look for the first picture and make its time 0, also if it comes later than the sound.
    joined = ffmpeg.input(
        f"file:{LIST}", f="concat", auto_convert=0, nofind_stream_info=None, protocol_whitelist="file,pipe",
        format_whitelist=FORMATS,
    )  # fmt: skip
    options: Options = {"c:v": "copy"}
    template, video = encoding.video, selection.video
    if template and video and video.frame_rate and encoding.container in ("mkv", "webm"):
        # Otherwise Matroska would name the first chunk's own average. Elsewhere it would make the clock coarser.
        options["r"] = str(template.average_rate(video))
    if template and template.codec == "h265" and encoding.container in HVC1_CONTAINERS:
        options["tag:v"] = "hvc1"
    return [joined["v:0"]], options
