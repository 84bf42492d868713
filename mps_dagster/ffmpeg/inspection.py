"""One command that decodes a source once and writes what its filters measure into files of the work folder.

| file | one entry for | with |
|---|---|---|
| frames.txt | each frame | its time, and how much it differs from the one before |
| black_start.txt, black_end.txt | each beginning and end of black | its time |
| looks.txt | two frames a second | luma, blur, blocks, borders |
| sound_<index>.txt | each 0.1 s of a track | level, loudness, flat peaks, phase |
| messages.txt | each message of ffmpeg | after the last of the looks (or sound) before it, which tells its time |
"""

from __future__ import annotations

import ffmpeg

from mps_dagster.ffmpeg.picture import Section, Stream, arguments, section
from mps_dagster.media.info import AudioStream, MediaInfo, VideoStream
from mps_dagster.media.inspection import Thresholds
from mps_dagster.media.timerange import Span

FRAMES, LOOKS, MESSAGES = "frames.txt", "looks.txt", "messages.txt"
BLACK_START, BLACK_END = "black_start.txt", "black_end.txt"
LOOK_S = 0.5
"""Between two of the looks. Blur and blocks cost as much as decoding, and last longer than that if they matter."""
SMALL, MEDIUM = 320, 1280
"""Widths at which differences and blur are measured: whole frames would take several times as long."""
STEREO = 2
_MARK = r"file=pipe\\:2:direct=1"
_BYTES_A_FRAME, _BYTES_A_LOOK, _BYTES_A_WINDOW = 80, 2400, 480


def sound_file(index: int) -> str:
    return f"sound_{index}.txt"


def measure(media: MediaInfo, thresholds: Thresholds) -> tuple[str, ...]:
    """The command. The decoder's messages and a line for every look go to stderr, which keeps their order."""
    video, options = media.video, dict[str, str | float]()
    used: list[VideoStream | AudioStream] = [*([video] if video else []), *media.audio]
    if video and video.turned:
        # A graph that is built anew would begin its files anew.
        options["drop_changed:v"] = 1
    if media.audio:
        options["drop_changed:a"] = 1
    opened = section(media, Span.of(used).whole, used, **options)
    outputs = [_frames(opened, video, thresholds), _looks(opened, video)] if video else []
    outputs += [_sound(opened, track, marks=video is None and track is media.audio[0]) for track in media.audio]
    return arguments(*outputs)


def measured_bytes(media: MediaInfo) -> int:
    """Size of all files."""
    frames = media.video.frames * _BYTES_A_FRAME if media.video else 0
    looks = media.video.duration_s / LOOK_S * _BYTES_A_LOOK if media.video else 0
    return round(frames + looks + sum(track.duration_s * 10 * _BYTES_A_WINDOW for track in media.audio))


def _frames(opened: Section, video: VideoStream, thresholds: Thresholds) -> Stream:
    # The scaler comes first, as the only filter that takes pictures of changing size.
    small = f"scale={min(SMALL, video.width)}:-2:flags=fast_bilinear"
    return _measured(
        opened, video, small, "format=yuv420p", f"blackdetect=pix_th={thresholds.black_luma}",
        # Only the frames where black begins or ends have these.
        f"metadata=print:key=lavfi.black_start:file={BLACK_START}", f"metadata=print:key=lavfi.black_end:file={BLACK_END}",
        "scdet=t=100", f"metadata=print:key=lavfi.scd.mafd:file={FRAMES}",
    )  # fmt: skip


def _looks(opened: Section, video: VideoStream) -> Stream:
    width, height = video.display_size if video.turned else (video.width, video.height)
    return _measured(
        opened, video, rf"select=isnan(prev_selected_t)+gte(t-prev_selected_t\,{LOOK_S - 0.001})",
        f"scale={width}:{height}:out_range=tv", "format=yuv420p",
        # Blocks and borders in their own pixels.
        "blockdetect", "cropdetect=limit=24/255:round=2:reset=1:skip=0", f"scale={min(MEDIUM, width)}:-2", "blurdetect",
        "entropy", "signalstats", f"metadata=print:file={LOOKS}", f"metadata=print:key=lavfi.signalstats.YAVG:{_MARK}",
    )  # fmt: skip


def _sound(opened: Section, track: AudioStream, *, marks: bool) -> Stream:
    return _measured(
        opened, track, "ebur128=metadata=1:framelog=quiet",
        # Samples that are out of range are clipped by any player: only whole numbers show it.
        "aformat=sample_fmts=s16",
        "astats=metadata=1:reset=1:measure_perchannel=none:measure_overall=Peak_level+RMS_level+Flat_factor",
        *(["aphasemeter=video=0"] if track.channels == STEREO else []),
        f"ametadata=print:file={sound_file(track.index)}",
        *([f"ametadata=print:key=lavfi.r128.M:{_MARK}"] if marks else []),
    )  # fmt: skip


def _measured(opened: Section, stream: VideoStream | AudioStream, *filters: str) -> Stream:
    """A graph of its own, which runs in a thread of its own."""
    kind, rate = ("v", {"fps_mode": "passthrough"}) if isinstance(stream, VideoStream) else ("a", {})
    return ffmpeg.output(
        opened.origin[str(stream.index)], "-", f="null", **{f"filter:{kind}": ",".join(filters), **rate}
    )
