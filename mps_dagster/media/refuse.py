"""Why a file is refused, in words for the person who uploaded it."""

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
from mps_dagster.media.scan import Timings, Track, has_jumps, start_s

Log = Sequence[tuple[int, str, str]]
"""libav's messages: level, part, text."""

UPLOAD_AGAIN = "see if the original plays; if it does, the upload was cut off or changed on its way: upload it again"
_CONVERT = "convert it to something common, for example H.264 and AAC in mp4"
_PLAYLISTS = {
    b"#extm3u": "an HLS playlist",
    b"ffconcat": "a list of files for ffmpeg",
    b"<mpd": "a DASH manifest",
    b"v=0": "an SDP session description",
}
_HTML = (b"<!doctype html", b"<html")
_BOXES = (b"ftyp", b"mdat", b"free", b"wide", b"skip", b"moov")
"""What an MP4 or QuickTime file begins with, after four bytes of length."""
_LOST_S, _LOST_SHARE = 2.0, 0.05
"""A header may promise so much more than there is, whichever is more; beyond that the file counts as cut off."""


@contextmanager
def libav_log(level: int) -> Iterator[Log]:
    """libav's messages as they come. Outside of this they are dropped; none is ever printed."""
    before = av.logging.get_level()
    av.logging.set_level(level)
    # PyAV would leave out what it heard last, even from another file.
    av.logging.set_skip_repeated(False)
    try:
        with av.logging.Capture() as log:
            yield log
    finally:
        av.logging.set_level(before)


def unreadable(head: bytes, log: Log) -> SourceFileError:
    """The error for a file that begins with `head` and that libav did not open."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for start, name in _PLAYLISTS.items():
        if text.startswith(start) or (text.startswith(b"<?xml") and start in text):
            return ContentUnsupported(f"the file is {name}, not media", hint="upload the media itself")
    if text.startswith(_HTML):
        return ContentMalformed("not a media file: an HTML page", hint="it may be the error page of a failed download")
    for _, part, message in log:
        if message.startswith("Format not on whitelist"):
            return ContentUnsupported(f"the container {part} is not accepted", hint=_CONVERT)
    return ContentMalformed(_looks(head), hint=UPLOAD_AGAIN)


def _looks(head: bytes) -> str:
    if not any(head):
        return "not a media file: begins with zeros"
    if all(byte >= ord(" ") or byte in b"\t\n\f\r" for byte in head):
        return "not a media file: begins with text"
    if head[4:8] in _BOXES:
        return "an MP4 or QuickTime file without its header (moov), which comes last"
    return "not a media file, or damaged at its beginning"


def check_decodable(container: InputContainer, video: VideoStream, log: Log, max_pixels: int) -> None:
    """Before anything is decoded: is there a decoder, and is the picture not too large for us?"""
    if not video.codec_context:
        raise _no_decoder(container, video)
    width, height = video.width, video.height
    for _, _, message in log:
        # libav has the same limit, and then keeps the size for itself.
        if not width and (match := re.match(r"Picture size (\d+)x(\d+) exceeds", message)):
            width, height = int(match[1]), int(match[2])
    check_size(width, height, max_pixels)


def check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise ContentUnsupported(
            f"a picture of {width} x {height} is too large", hint=f"the limit is {max_pixels} pixels (MPS_MAX_PIXELS)"
        )


def check_complete(container: InputContainer, tracks: Sequence[Track], timings: Timings, log: Log) -> None:
    """After the packets were read: is all there that the headers promise, and none of it encrypted?"""
    if any(track.encrypted for track in tracks):
        raise ContentUnsupported("the file is encrypted (DRM)", hint="upload it without protection")
    if not timings and any("opening external track" in message for _, _, message in log):
        raise ContentMalformed("a QuickTime movie whose media is in other files", hint="save it self-contained")
    claimed_s = _claimed_s(container, log)
    # Some headers count from zero, others from the first packet.
    reached_s = max((timing.end_s for timing in timings.values()), default=0.0) + max(0.0, float(start_s(container)))
    if claimed_s - reached_s > max(_LOST_S, _LOST_SHARE * claimed_s):
        raise ContentMalformed(
            f"the file is cut off: its header says {claimed_s:.1f} s, its data ends at {reached_s:.1f} s",
            hint=UPLOAD_AGAIN,
        )


def _claimed_s(container: InputContainer, log: Log) -> float:
    """How long the headers say the file is; 0 if they do not, and libav made its number up."""
    if has_jumps(container) or any("Estimating duration" in line for _, _, line in log):
        return 0.0
    claims = [(container.duration or 0) / av.time_base]
    if container.format.name == "avi":
        # libav corrects the duration by what it finds, but not the number of pictures.
        claims += [float(video.frames / video.average_rate) for video in container.streams.video if video.average_rate]
    return max(claims)


def undecoded(video: VideoStream) -> SourceFileError:
    """The error for a video of which no picture came out."""
    if not video.width or not video.height:
        return NoVideoResolution("the video tells no width and height, and no picture of it can be decoded")
    return ContentMalformed("no picture of the video can be decoded", hint=UPLOAD_AGAIN)


def nothing_usable(container: InputContainer) -> SourceFileError:
    """The error for a file without video and without sound that we could use."""
    for audio in container.streams.audio:
        if not audio.codec_context:
            return _no_decoder(container, audio)
    kinds = ", ".join(sorted({stream.type for stream in container.streams}))
    return ContentMalformed(f"no video and no sound in the file, only {kinds or 'an empty container'}")


def listed(container: InputContainer) -> str:
    """What libav knows of the streams, as ffmpeg prints it."""
    with libav_log(av.logging.INFO):
        text: str = container.dumps_format()  # type: ignore[attr-defined]  # not in PyAV's stubs
    return text


def _no_decoder(container: InputContainer, stream: Stream) -> ContentUnsupported:
    return ContentUnsupported(f"no decoder for the {stream.type} codec {_codec_name(container, stream)}", hint=_CONVERT)


def _codec_name(container: InputContainer, stream: Stream) -> str:
    """What libav calls a codec that it cannot decode, or the container's own name for it; PyAV has neither."""
    match = re.search(rf"Stream #0:{stream.index}\b.*: (?:Video|Audio): (\w+)(?: \((\w+))?", listed(container))
    if not match:
        return "unknown"
    return match[1] if match[1] != "none" else match[2] or "unknown"
