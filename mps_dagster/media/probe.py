"""The probe: reads one local file and describes its streams, or raises what is wrong with it.

    python -m mps_dagster.media.probe FILE [--max-pixels N]

prints a `MediaInfo` as JSON. An untrusted file is probed with this command, in a child process with limits;
`parse_child` turns the child's output into a `MediaInfo` or an error. Call `probe` only on files that we made.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import av
import av.logging
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream
from pydantic import ValidationError

from mps_dagster import errors
from mps_dagster.errors import ContentMalformed, MpsError, SourceNotAccessible, ToolKilled
from mps_dagster.media import describe, refuse
from mps_dagster.media.info import MediaInfo
from mps_dagster.media.programmes import programme_audio, programme_clock, programmes
from mps_dagster.media.scan import read_packets, stream_timings
from mps_dagster.media.webp import animation

ALLOWED = frozenset({
    "mov", "matroska", "mpegts", "mpeg", "avi", "flv", "asf", "rm", "mxf",
    "mp3", "aac", "wav", "flac", "ogg", "amr",
    "gif", "apng", "png_pipe", "jpeg_pipe", "webp_pipe",
})  # fmt: skip
"""libav's demuxers for the formats that triggers accept and that we write. Never add one that opens other files
(hls, dash, concat, image2, sdp …) or accepts any bytes as media (tty, rawvideo …)."""
MAX_PIXELS = 8192 * 8192
_ERRORS: Mapping[str, type[MpsError]] = {
    name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, MpsError)
}
_EXIT_REFUSED = 3
"""The child's exit code after printing an error."""
_FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""No file makes a process send itself one of these."""


def probe(path: Path, *, max_pixels: int = MAX_PIXELS, scan: bool = True) -> MediaInfo:
    """Describe a file. Without `scan`, only its beginning is read, and times are what the headers claim."""
    try:
        size_bytes = path.stat().st_size
        if not size_bytes:
            raise ContentMalformed("the file is empty", hint="the upload was cut off; upload it again")
        if animated := animation(path):
            refuse.check_size(animated.width, animated.height, max_pixels)
            return describe.animated_webp(animated, size_bytes)
        with _open(path, max_pixels) as (container, log):
            return _media_info(container, log, size_bytes, max_pixels=max_pixels, whole=scan)
    except OSError as error:
        raise SourceNotAccessible(f"the file cannot be read: {error.strerror}") from error
    except av.FFmpegError as error:
        raise ContentMalformed(f"the file cannot be read: {error.strerror}", hint=refuse.UPLOAD_AGAIN) from error


def parse_child(stdout: str, returncode: int) -> MediaInfo:
    """The result of a child process that ran this module; raises the error that it raised."""
    if -returncode in _FROM_OUTSIDE:
        raise ToolKilled.by_signal("the probe", -returncode)
    exit_reason = f"signal {-returncode}" if returncode < 0 else f"exit code {returncode}"
    error: MpsError = ContentMalformed(f"the probe crashed on this file ({exit_reason})", hint=refuse.UPLOAD_AGAIN)
    try:
        if returncode == 0:
            return MediaInfo.model_validate_json(stdout)
        if returncode == _EXIT_REFUSED:
            report = json.loads(stdout)
            error = _ERRORS[report["error"]](report["message"], hint=report["hint"])
    except (ValidationError, ValueError, KeyError, TypeError):
        pass
    raise error


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m mps_dagster.media.probe", description="Describe a media file.")
    parser.add_argument("path", type=Path)
    parser.add_argument("--max-pixels", type=int, default=MAX_PIXELS, help="largest picture that is decoded")
    args = parser.parse_args()
    try:
        print(probe(args.path, max_pixels=args.max_pixels).model_dump_json())  # noqa: T201
    except MpsError as error:
        print(json.dumps({"error": type(error).__name__, "message": error.message, "hint": error.hint}))  # noqa: T201
        return _EXIT_REFUSED
    return 0


@contextmanager
def _open(path: Path, max_pixels: int) -> Iterator[tuple[InputContainer, refuse.Log]]:
    """The open file, and libav's messages."""
    with path.open("rb") as file:
        head = file.read(512)
    # By its name alone, libav would take a .jpg for an image sequence.
    format = "jpeg_pipe" if head.startswith(b"\xff\xd8\xff") else None
    # Opening already decodes pictures, so the limit is set here too.
    options = {
        "protocol_whitelist": "file",
        "format_whitelist": ",".join(sorted(ALLOWED)),
        "max_pixels": str(max_pixels),
    }
    with refuse.libav_log(av.logging.WARNING) as log:
        try:
            container = av.open(f"file:{os.fspath(path)}", "r", format, options, metadata_errors="replace")
        except av.FFmpegError as error:
            raise refuse.open_error(head, log) from error
    with container:
        yield container, log


def _media_info(
    container: InputContainer, log: refuse.Log, size_bytes: int, *, max_pixels: int, whole: bool
) -> MediaInfo:
    video = _main_video(container)
    if video:
        refuse.check_decodable(container, video, log, max_pixels)
        # The pictures may be larger than the headers say.
        video.codec_context.options = {"max_pixels": str(max_pixels)}
        video.codec_context.thread_count = 1
    # Read before the packets: a later change of the tables would take the first tracks out of their programme.
    groups = programmes(container)
    tracks, picture = read_packets(container, video, whole=whole)
    timings = stream_timings(container, tracks, whole=whole)
    refuse.check_complete(container, tracks, timings, log)
    audio = programme_audio(groups, video.index if video else None, describe.usable_audio(container, timings))
    ahead_s, timings = programme_clock(groups, timings, audio | {video.index} if video else audio)
    video_stream = None
    if video:
        if not picture or video.index not in timings:
            raise refuse.decode_error(video)
        video_stream = describe.video_stream(container, video, picture, timings[video.index])
    info = describe.media_info(container, video_stream, audio, timings, size_bytes)
    if ahead_s:
        info = info.model_copy(update={"start_s": round(info.start_s + ahead_s, 6), "seekable": False})
    if not info.video and not info.audio:
        raise refuse.no_streams_error(container)
    return info


def _main_video(container: InputContainer) -> VideoStream | None:
    """The stream that a person would call the video: decodable ones first, then the default, then the largest."""
    not_main = Disposition.attached_pic | Disposition.timed_thumbnails
    videos = [stream for stream in container.streams.video if not stream.disposition & not_main]

    def rank(stream: VideoStream) -> tuple[bool, bool, int]:
        default = bool(stream.disposition & Disposition.default)
        return bool(stream.codec_context), default, stream.width * stream.height if stream.codec_context else 0

    return max(videos, key=rank, default=None)


if __name__ == "__main__":
    sys.exit(main())
