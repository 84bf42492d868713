"""Checks that refuse a file, with error messages for the person who uploaded it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import av
import av.logging
from av.container import InputContainer
from av.stream import Stream
from av.video.stream import VideoStream

from mps_dagster.errors import ContentMalformed, ContentUnsupported, NoVideoResolution, SourceFileError
from mps_dagster.media.scan import Timings, Track, may_jump, start_s

Log = Sequence[tuple[int, str, str]]
"""libav's messages: level, part, text."""

UPLOAD_AGAIN = "check that the original plays; if it does, the upload was cut off or damaged: upload it again"
_CONVERT = "convert it to a common format, for example H.264 and AAC in mp4"
_PLAYLISTS = {
    b"#extm3u": "an HLS playlist",
    b"ffconcat": "a list of files for ffmpeg",
    b"<mpd": "a DASH manifest",
    b"v=0": "an SDP session description",
}
_HTML = (b"<!doctype html", b"<html")
_BOXES = (b"ftyp", b"mdat", b"free", b"wide", b"skip", b"moov")
"""The first box types of MP4 and QuickTime files; they follow four bytes of length."""
_MISSING_S, _MISSING_SHARE = 2.0, 0.05
"""If more than the larger of these is missing of the declared duration, the file counts as cut off."""


@contextmanager
def libav_log(level: int) -> Iterator[Log]:
    """Collects libav's messages. Outside this block they are dropped; they are never printed."""
    previous_level = av.logging.get_level()
    av.logging.set_level(level)
    # By default, PyAV drops a message that repeats the last one, even another file's.
    av.logging.set_skip_repeated(False)
    try:
        with av.logging.Capture() as log:
            yield log
    finally:
        av.logging.set_level(previous_level)


def open_error(head: bytes, log: Log) -> SourceFileError:
    """The error for a file that libav could not open; `head` is its first bytes."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for start, name in _PLAYLISTS.items():
        if text.startswith(start) or (text.startswith(b"<?xml") and start in text):
            return ContentUnsupported(f"the file is {name}, not media", hint="upload the media itself")
    if text.startswith(_HTML):
        return ContentMalformed("not a media file: an HTML page", hint="it may be the error page of a failed download")
    for _, part, message in log:
        if message.startswith("Format not on whitelist"):
            return ContentUnsupported(f"the container {part} is not accepted", hint=_CONVERT)
    return ContentMalformed(_describe_head(head), hint=UPLOAD_AGAIN)


def _describe_head(head: bytes) -> str:
    if not any(head):
        return "not a media file: it begins with zeros"
    if all(byte >= ord(" ") or byte in b"\t\n\f\r" for byte in head):
        return "not a media file: it begins with text"
    if head[4:8] in _BOXES:
        return "an MP4 or QuickTime file without its header (moov), which is at the end of a file"
    return "not a media file, or its beginning is damaged"


def check_decodable(container: InputContainer, video: VideoStream, log: Log, max_pixels: int) -> None:
    """Before decoding: check that there is a decoder and that the picture is not too large."""
    if not video.codec_context:
        raise _no_decoder(container, video)
    width, height = video.width, video.height
    for _, _, message in log:
        # libav has the same limit; beyond it, only its message has the size.
        if not width and (match := re.match(r"Picture size (\d+)x(\d+) exceeds", message)):
            width, height = int(match[1]), int(match[2])
    check_size(width, height, max_pixels)


def check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise ContentUnsupported(
            f"a picture of {width} x {height} is too large", hint=f"the limit is {max_pixels} pixels (MPS_MAX_PIXELS)"
        )


def check_complete(container: InputContainer, tracks: Sequence[Track], timings: Timings, log: Log) -> None:
    """After reading the packets: check that nothing is encrypted and that the file is as long as its headers say."""
    if any(track.encrypted for track in tracks):
        raise ContentUnsupported("the file is encrypted (DRM)", hint="upload it without protection")
    if not timings and any("opening external track" in message for _, _, message in log):
        raise ContentMalformed("a QuickTime movie whose media is in other files", hint="save it as self-contained")
    declared_s = _declared_s(container, log)
    # Some headers count from zero, others from the first packet.
    end_s = max((timing.end_s for timing in timings.values()), default=0.0) + max(0.0, float(start_s(container)))
    if declared_s - end_s > max(_MISSING_S, _MISSING_SHARE * declared_s):
        raise ContentMalformed(
            f"the file is cut off: its header says {declared_s:.1f} s, its data ends at {end_s:.1f} s",
            hint=UPLOAD_AGAIN,
        )


def _declared_s(container: InputContainer, log: Log) -> float:
    """The duration in the headers; 0 if they have none and libav's number is a guess."""
    if may_jump(container) or any("Estimating duration" in line for _, _, line in log):
        return 0.0
    lengths = [(container.duration or 0) / av.time_base]
    if container.format.name == "avi":
        # libav corrects the duration to what it reads, but not the number of pictures.
        lengths += [float(video.frames / video.average_rate) for video in container.streams.video if video.average_rate]
    return max(lengths)


def decode_error(video: VideoStream) -> SourceFileError:
    """The error for a video without a decodable picture."""
    if not video.width or not video.height:
        return NoVideoResolution("the video has no width and height, and none of its pictures can be decoded")
    return ContentMalformed("none of the video's pictures can be decoded", hint=UPLOAD_AGAIN)


def no_streams_error(container: InputContainer) -> SourceFileError:
    """The error for a file without usable video or audio."""
    for audio in container.streams.audio:
        if not audio.codec_context:
            return _no_decoder(container, audio)
    kinds = ", ".join(sorted({stream.type for stream in container.streams}))
    return ContentMalformed(f"the file has no video and no audio, only {kinds or 'an empty container'}")


def dump_format(container: InputContainer) -> str:
    """What libav knows about the streams, as ffmpeg prints it."""
    with libav_log(av.logging.INFO):
        text: str = container.dumps_format()  # type: ignore[attr-defined]  # not in PyAV's stubs
    return text


def _no_decoder(container: InputContainer, stream: Stream) -> ContentUnsupported:
    return ContentUnsupported(f"no decoder for the {stream.type} codec {_codec_name(container, stream)}", hint=_CONVERT)


def _codec_name(container: InputContainer, stream: Stream) -> str:
    """libav's name of a codec that it cannot decode, or the container's; PyAV exposes neither."""
    match = re.search(rf"Stream #0:{stream.index}\b.*: (?:Video|Audio): (\w+)(?: \((\w+))?", dump_format(container))
    if not match:
        return "unknown"
    return match[1] if match[1] != "none" else match[2] or "unknown"
