"""From video and audio parameters to the ffmpeg command that writes the file (or the HLS files)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import ffmpeg

from mps_dagster.errors import ContentUnsupported, InvalidConfiguration, InvalidTimeOffset
from mps_dagster.ffmpeg.chunks import Chunk
from mps_dagster.ffmpeg.codecs import MUXERS, STREAM, VIDEO_ENCODERS, Options
from mps_dagster.ffmpeg.colour import output_matrix, tag_like, to_rgb, to_sdr, to_video_format
from mps_dagster.ffmpeg.copying import audio_copy_options, copy_target, video_copy_options
from mps_dagster.ffmpeg.encode import (
    AudioTemplate,
    VideoTemplate,
    audio_options,
    blend_format,
    keeps_alpha,
    keeps_hdr,
    language_options,
    pixel_format,
    select_audio,
    video_options,
)
from mps_dagster.ffmpeg.loudness import loudness_search
from mps_dagster.ffmpeg.measured import MeasuredVideo, output_file
from mps_dagster.ffmpeg.measures import LoudnessSearch
from mps_dagster.ffmpeg.overlay import Blend, Watermark, attachments, overlay_watermarks
from mps_dagster.ffmpeg.picture import (
    Section,
    Stream,
    arguments,
    copy_section,
    fit_canvas,
    late_section,
    prepare,
    seconds,
    section,
)
from mps_dagster.ffmpeg.plan import Copied, Expected, OutputFile, Plan
from mps_dagster.ffmpeg.size import MOST_OF_SOURCE, audio_bytes, video_bytes
from mps_dagster.media.geometry import Geometry, Size, fit
from mps_dagster.media.info import AudioStream, MediaInfo, VideoStream
from mps_dagster.media.timerange import Span, TimeRange, signed_range
from mps_dagster.streaming.segments import Segments

PLAYLIST = "out.m3u8"
HEADER = "init.mp4"
HLS_GAP_S, COPIED_HLS_GAP_S = 0.1, 0.5
"""How long HLS may have audio without a picture. Tracks always differ a little in length, and gaps of copied video cannot be
filled."""
SYNC_AUDIO = "aresample=async=1"
"""Fills missing samples with silence. Filters here must not count from the start: ffmpeg may rebuild the graph."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """A video or audio file to write."""

    key: str
    container: str
    video: VideoTemplate | None
    """None = without video."""
    audio: AudioTemplate | None
    start_time_offset: float = 0.0
    """Both offsets are signed, as `signed_range` takes them."""
    end_time_offset: float = 0.0
    watermarks: tuple[Watermark, ...] = ()
    segments: Segments | None = None
    hls_time: int = 6
    """`segments` and `hls_time` are for HLS only."""
    covers: Span | None = None
    """The output plays from start to end of this span: black, the last picture or silence where its streams do not."""
    key_every_s: float = 0.0
    """How often there must be a key frame, at least; 0 = as `hls_time` or the template says."""
    edit_list: bool = True
    """False: time stamps begin at 0, so that sound comes late by the encoder's delay (AAC: 23 ms)."""

    @property
    def forced_every_s(self) -> float:
        """How often there must be a key frame, for segments; 0 = as the template says."""
        return self.key_every_s or (self.hls_time if self.container == "hls" else 0.0)

    @property
    def fills(self) -> bool:
        """Whether a picture is needed from start to end."""
        return self.container == "hls" or self.covers is not None

    @property
    def copies_video(self) -> bool:
        return self.video is not None and self.video.codec == "copy"

    @property
    def copies_audio(self) -> bool:
        return self.audio is not None and self.audio.codec == "copy"


@dataclass(frozen=True, slots=True)
class Selection:
    """The streams of a source, and the part of them, that go into an output."""

    part: TimeRange
    video: VideoStream | None
    audio: tuple[AudioStream, ...]

    @property
    def streams(self) -> tuple[VideoStream | AudioStream, ...]:
        return (*((self.video,) if self.video else ()), *self.audio)

    @property
    def before_picture_s(self) -> float:
        """Duration of audio without a picture at the start."""
        return max(0.0, self.video.start_s - self.part.start_s) if self.video else 0.0

    @property
    def after_picture_s(self) -> float:
        return max(0.0, self.part.end_s - self.video.end_s) if self.video else 0.0


def encoding_plan(encoding: Encoding, media: MediaInfo) -> Plan:
    """The plan for one file. Its video or audio is left out if the source has none."""
    selection = select(encoding, media)
    video = selection.video
    geometry = rendition(encoding.video, video) if encoding.video and video else None
    file = f"out.{MUXERS[encoding.container].extension}"
    measured = _measured(encoding, media, selection, geometry)
    return Plan(
        commands=(output_command(encoding, media, selection, video_track(encoding, media, selection, geometry)),),
        outputs=(OutputFile(file=file, key=encoding.key, expected=_expected(encoding, selection, geometry)),),
        duration_s=selection.part.duration_s,
        attachments=attachments(encoding.watermarks) if video else (),
        segments=encoding.segments,
        estimated_bytes=round(_video_bytes(encoding, selection, geometry) + _audio_bytes(encoding, selection)),
        measures=(*_loudness_searches(encoding, media, selection), *(measured.crf_search() if measured else ())),
        scoring=measured.scoring() if measured else None,
        comparison=measured.comparison() if measured and encoding.watermarks else (),
    )


def select(encoding: Encoding, media: MediaInfo) -> Selection:
    """The streams that play in the chosen part of the source."""
    video = media.video if encoding.video else None
    audio = select_audio(encoding.audio, media, encoding.container) if encoding.audio else ()
    if video is None and not audio:
        raise ContentUnsupported(
            f"the source has none of the streams for {encoding.key}",
            hint=f"video: {'yes' if media.video else 'no'}, audio tracks: {len(media.audio)}",
        )
    span = encoding.covers or Span.of([*((video,) if video else ()), *audio])
    part = signed_range(encoding.start_time_offset, encoding.end_time_offset, span)
    if video and not (video.start_s < part.end_s and video.last_s >= part.start_s):
        video = None
    audio = tuple(track for track in audio if track.start_s < part.end_s and track.end_s > part.start_s)
    if video is None and not audio:
        raise InvalidTimeOffset(
            f"nothing plays from {part.start_s:.3f} s to {part.end_s:.3f} s of the source",
            hint="its video and its audio have a gap there; choose other offsets",
        )
    return Selection(part, video, audio)


def segment_pattern(template: VideoTemplate) -> str:
    """One file for byte ranges, numbered files otherwise."""
    extension = "m4s" if template.segment_type in (5, 7) else "ts"
    return f"segment.{extension}" if template.segment_type in (2, 5) else f"segment_%05d.{extension}"


def rendition(template: VideoTemplate, video: VideoStream) -> Geometry:
    """The size of the picture that is written."""
    if template.codec == "copy":
        return Geometry(video.display_size, video.display_size)
    return fit(
        video.display_size, width=template.width, height=template.height, adaptive=template.resolution_adaptive,
        fill=template.fill_type, step=2,
    )  # fmt: skip


def _video_bytes(encoding: Encoding, selection: Selection, geometry: Geometry | None) -> float:
    template, video, length_s = encoding.video, selection.video, selection.part.duration_s
    if template is None or video is None or geometry is None:
        return 0.0
    source_bytes = video.bitrate_bps * length_s / 8
    if encoding.copies_video:
        return source_bytes
    options = video_options(template, video, encoding.container, encoding.forced_every_s)
    frames, crf = length_s * float(template.average_rate(video)), VIDEO_ENCODERS[template.codec].default_crf
    estimate = video_bytes(options, geometry.canvas, frames, length_s, default_crf=crf)
    return min(estimate, MOST_OF_SOURCE * source_bytes) if "crf" in options and source_bytes else estimate


def _audio_bytes(encoding: Encoding, selection: Selection) -> float:
    template, tracks, length_s = encoding.audio, selection.audio, selection.part.duration_s
    if template is None or not tracks:
        return 0.0
    if encoding.copies_audio:
        return sum(track.bitrate_bps for track in tracks) * length_s / 8
    options = audio_options(template, tracks, encoding.container)
    return sum(audio_bytes(options, track, length_s) for track in tracks)


def _expected(encoding: Encoding, selection: Selection, geometry: Geometry | None) -> Expected:
    video, part = selection.video, selection.part
    copied = video is not None and encoding.copies_video
    # A copy starts and ends at key frames; an encoder adds at most a frame and some samples.
    slack = video.longest_key_gap_s if video and copied and not part.whole else 0.0
    width, height = geometry.canvas if geometry and not copied else (None, None)
    return Expected(
        kind="playlist" if encoding.container == "hls" else "video" if video else "audio",
        width=width, height=height, duration_s=part.duration_s, tolerance_s=0.5 + 0.01 * part.duration_s + slack,
        audio=bool(selection.audio), copied=_expected_copy(encoding, selection),
    )  # fmt: skip


def _expected_copy(encoding: Encoding, selection: Selection) -> Copied | None:
    picture = selection.video if encoding.copies_video else None
    codecs = tuple(track.codec for track in selection.audio) if encoding.copies_audio else ()
    if not picture:
        return Copied(audio=codecs) if codecs else None
    # A part may start after the video changes its size.
    size = picture.display_size if selection.part.whole else None
    return Copied(video=picture.codec, audio=codecs, turned=(picture.rotation, picture.mirrored), display_size=size)


def output_command(
    encoding: Encoding, media: MediaInfo, selection: Selection, video: tuple[list[Stream], Options]
) -> tuple[str, ...]:
    """Writes the file, or the HLS files; `video` is the video's stream and its output options."""
    muxer = MUXERS[encoding.container]
    # Global tags may contain a phone's location; what players need is in the streams.
    options: Options = {"map_metadata": -1, "map_chapters": -1, **muxer.args}
    streams: list[Stream] = []
    for tracks, track_options in (video, _audio(encoding, media, selection)):
        streams += tracks
        options |= track_options
    if not encoding.edit_list:
        options["use_editlist"] = 0
    if encoding.segments:
        options |= _hls_options(encoding.segments, encoding.hls_time)
    return arguments(ffmpeg.output(*streams, f"file:out.{muxer.extension}", f=muxer.format, **options))


def video_track(
    encoding: Encoding,
    media: MediaInfo,
    selection: Selection,
    geometry: Geometry | None,
    chunk: Chunk | None = None,
) -> tuple[list[Stream], Options]:
    """The video's stream, or one chunk of it, and its output options; both empty without video."""
    template, video = encoding.video, selection.video
    if template is None or video is None or geometry is None:
        return [], {}
    if encoding.copies_video:
        if encoding.container == "hls":
            _check_gaps(selection)
        track = copy_section(media, selection.part, selection.streams)[str(video.index)]
        return [track], video_copy_options(video, _copy_target(encoding))
    options = video_options(template, video, STREAM if chunk else encoding.container, encoding.forced_every_s)
    return [_picture(encoding, media, selection, geometry, chunk=chunk)], options


def _picture(
    encoding: Encoding,
    media: MediaInfo,
    selection: Selection,
    geometry: Geometry,
    *,
    chunk: Chunk | None = None,
    is_sample: bool = False,
) -> Stream:
    """What the encoder gets."""
    template, video = encoding.video, selection.video
    assert template  # noqa: S101  (called for encoded video only)
    assert video  # noqa: S101
    alpha = keeps_alpha(template, video)
    stream = _frames(template, media, selection, video, chunk)
    stream = fit_canvas(stream, video, geometry, blend="rgb" if alpha else "auto")
    if alpha:
        stream = to_rgb(stream, video, keep_alpha=True)
    elif not keeps_hdr(template):
        stream = to_sdr(stream, video)
    blend = Blend(blend_format(template), video if keeps_hdr(template) else None)
    stream = overlay_watermarks(
        stream, encoding.watermarks, geometry.canvas, blend=blend, clip=selection.part, is_sample=is_sample
    )
    if encoding.fills and (chunk is None or chunk.last):
        black = _black_video(geometry.canvas, selection.before_picture_s, template.average_rate(video))
        stream = _fill_gaps(stream, selection, tag_like(black, video, sdr=not keeps_hdr(template)))
    return to_video_format(stream, pixel_format(template, video), output_matrix(video, sdr=not keeps_hdr(template)))


def _measured(
    encoding: Encoding, media: MediaInfo, selection: Selection, geometry: Geometry | None
) -> MeasuredVideo | None:
    """None if there is no encoded video."""
    template, video = encoding.video, selection.video
    if template is None or video is None or geometry is None or encoding.copies_video:
        return None

    def picture(part: TimeRange, geometry: Geometry, is_sample: bool, *, marked: bool = True) -> Stream:
        # Without sound: ffmpeg's time 0 may depend on the streams that a command uses.
        pictures = replace(selection, part=part, audio=())
        shown = encoding if marked else replace(encoding, watermarks=())
        return _picture(shown, media, pictures, geometry, is_sample=is_sample)

    return MeasuredVideo(
        container=encoding.container, template=template, video=video, part=selection.part,
        geometry=geometry, picture=picture, key_every_s=encoding.forced_every_s,
    )  # fmt: skip


def _frames(
    template: VideoTemplate, media: MediaInfo, selection: Selection, video: VideoStream, chunk: Chunk | None
) -> Stream:
    """The source's pictures at the times of the output's frames; of a chunk, those that are in it."""
    if chunk and not chunk.first:
        stream = late_section(media, selection.part, video, float(chunk.begins))
    else:
        stream = section(media, selection.part, selection.streams if chunk is None else (video,)).picture(video)
    stream = prepare(stream, video, keep_alpha=keeps_alpha(template, video))
    if rate := template.frame_rate(video):
        stream = stream.filter("fps", f"{rate.numerator}/{rate.denominator}")
    # After what needs the pictures before, and before what is slow.
    return stream.filter("trim", **chunk.bounds) if chunk else stream


def _audio(encoding: Encoding, media: MediaInfo, selection: Selection) -> tuple[list[Stream], Options]:
    """The audio tracks' streams and their output options.

    Each track has its own filter graph, which ffmpeg may rebuild when the audio changes its format.
    """
    template, tracks = encoding.audio, selection.audio
    if template is None or not tracks:
        return [], {}
    options: Options = dict(language_options(tracks))
    if encoding.copies_audio:
        origin = copy_section(media, selection.part, selection.streams)
        options |= audio_copy_options(tracks, _copy_target(encoding))
        if not selection.part.from_start and not (selection.video and encoding.copies_video):
            # Only copied video needs packets before the start; copied audio without it starts exactly there.
            options["copypriorss:a"] = 0
    else:
        source = section(media, selection.part, selection.streams)
        origin = source.origin
        options |= audio_options(template, tracks, encoding.container)
        for number, track in enumerate(tracks):
            slot = (f"{{loudness{number}}}",) if template.loudness else ()
            options[f"filter:a:{number}"] = ",".join((*_sound_filters(encoding, selection, source, track), *slot))
    return [origin[str(track.index)] for track in tracks], options


def _sound_filters(encoding: Encoding, selection: Selection, source: Section, track: AudioStream) -> tuple[str, ...]:
    """Those of a track that is encoded."""
    assert encoding.audio is not None  # noqa: S101  (the caller has looked)
    sync = _covering(selection) if encoding.covers else (SYNC_AUDIO,)
    return (*source.audio_filters, *sync, *_channel_layout(encoding.audio, track))


def _covering(selection: Selection) -> tuple[str, ...]:
    """Silence before the first sample and after the last one, too."""
    lasts = seconds(selection.part.duration_s)
    return (f"{SYNC_AUDIO}:first_pts=0", f"apad=whole_dur={lasts}", f"atrim=end={lasts}")


def _loudness_searches(encoding: Encoding, media: MediaInfo, selection: Selection) -> tuple[LoudnessSearch, ...]:
    template = encoding.audio
    if template is None or template.loudness is None:
        return ()
    searches = []
    for number, track in enumerate(selection.audio):
        source = section(media, selection.part, (track,))
        searches.append(loudness_search(
            template.loudness, source, track, number, filters=_sound_filters(encoding, selection, source, track),
            options=audio_options(template, selection.audio, encoding.container), output=output_file(encoding.container),
            duration_s=selection.part.duration_s,
        ))  # fmt: skip
    return tuple(searches)


def _channel_layout(template: AudioTemplate, track: AudioStream) -> tuple[str, ...]:
    if (template.audio_channel or track.channels) == 6:
        # The Opus encoder refuses AC-3's 5.1(side).
        return ("aformat=channel_layouts=5.1",)
    if template.loudness and template.audio_channel:
        # The option `-ac` would mix channels only after the gain, which changes the loudness.
        return (f"aformat=channel_layouts={'mono' if template.audio_channel == 1 else 'stereo'}",)
    return ()


def _check_gaps(selection: Selection) -> None:
    """HLS is as long as its video, and a copy cannot add pictures."""
    gap_s = max(selection.before_picture_s, selection.after_picture_s)
    if gap_s > COPIED_HLS_GAP_S:
        raise InvalidConfiguration(
            f"for {gap_s:.2f} s the source has sound and no picture, which HLS segments of copied video cannot cover",
            hint="name a video codec, for example h264",
        )


def _black_video(canvas: Size, length_s: float, rate: Fraction) -> Stream:
    black = ffmpeg.input(f"color=black:s={canvas[0]}x{canvas[1]}:r={rate}:d={seconds(length_s)}", f="lavfi")
    return black.filter("setsar", 1)


def _fill_gaps(stream: Stream, selection: Selection, black: Stream) -> Stream:
    """Black before the first picture, and the last picture repeated to the end: players stop where an HLS track stops."""
    if selection.before_picture_s > HLS_GAP_S:
        stream = ffmpeg.concat(black, stream.filter("setpts", "PTS-STARTPTS"))
    if selection.after_picture_s > HLS_GAP_S:
        stream = stream.filter("tpad", stop_mode="clone", stop_duration=seconds(selection.after_picture_s))
    return stream


def _copy_target(encoding: Encoding) -> str:
    return copy_target(encoding.container, mp4_segments=_has_mp4_segments(encoding.segments))


def _has_mp4_segments(segments: Segments | None) -> bool:
    return segments is not None and segments.pattern.endswith(".m4s")


def _hls_options(segments: Segments, hls_time: int) -> Options:
    flags = "independent_segments" if "%" in segments.pattern else "independent_segments+single_file"
    options: Options = {
        "hls_time": hls_time, "hls_playlist_type": "vod", "hls_list_size": 0, "hls_flags": flags,
        "hls_segment_filename": segments.pattern,
    }  # fmt: skip
    if _has_mp4_segments(segments):
        options |= {"hls_segment_type": "fmp4", "hls_fmp4_init_filename": HEADER}
    return options
