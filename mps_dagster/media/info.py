"""`MediaInfo`: the probe's result. It travels between steps as JSON."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

from mps_dagster.frozen import Facts


class VideoStream(Facts):
    """The stream that a person would call the video; never cover art."""

    index: int
    codec: str
    """ffmpeg's name of the codec (not of a decoder): h264, hevc, vp9, av1, mjpeg …"""
    tag: str = ""
    """The container's name of the codec, unless it is a number: avc1, avc3, hev1, hvc1, dvh1 …"""
    profile: str = ""
    width: int
    """Stored pixels, cropped as codec and container say, before rotation and sample aspect."""
    height: int
    rotation: int = 0
    """Degrees by which a player turns the picture clockwise: 0, 90, 180, 270."""
    mirrored: bool = False
    """Whether a player also flips the picture; `rotation` alone then does not describe the transform."""
    sample_aspect: Fraction = Fraction(1)
    shaped_by_container: bool = False
    """Whether cropping or the shape of pixels is in the container only, not in the codec's data."""
    pixel_format: str
    bit_depth: int = 8
    alpha: bool = False
    interlaced: bool = False
    """Of the first picture; later ones may differ."""
    color_primaries: str = ""
    color_transfer: str = ""
    color_space: str = ""
    full_range: bool = False
    dolby_vision: str = ""
    """Profile and compatibility id, as in `8.1`; empty without Dolby Vision."""
    frame_rate: Fraction | None = None
    """Average frames per second, from the packets; None if unknown."""
    variable_frame_rate: bool = False
    rounded_times: bool = False
    """Whether time stamps follow `frame_rate`, but are rounded by a coarse clock (Matroska's milliseconds)."""
    start_s: float = 0.0
    """Time of the first decodable picture, relative to `MediaInfo.start_s`."""
    first_packet_s: float = 0.0
    """Time of the first packet; earlier than `start_s` if the recording does not begin with a key frame."""
    last_s: float = 0.0
    """Time of the last picture: the last point at which a picture can be taken."""
    duration_s: float = 0.0
    """From the first picture to the end of the last one."""
    frames: int = 0
    """Number of video packets: one per frame in every accepted codec."""
    hidden_s: float = 0.0
    """Duration of what is stored but not shown, because an edit list leaves it out."""
    untimed: bool = False
    """Whether packets lack presentation times (B-frames in AVI and program streams), so that a decoder has to guess them."""
    longest_key_gap_s: float = 0.0
    """Longest time between key frames, or from the last one to the end; decides if sampling key frames is enough."""
    bitrate_bps: int = 0

    @property
    def end_s(self) -> float:
        return self.start_s + self.duration_s

    @property
    def hdr(self) -> Literal["", "HDR10", "HLG"]:
        return {"smpte2084": "HDR10", "arib-std-b67": "HLG"}.get(self.color_transfer, "")  # type: ignore[return-value]

    @property
    def turned(self) -> bool:
        """Whether a player turns or flips the picture."""
        return bool(self.rotation) or self.mirrored

    @property
    def dolby_vision_profile(self) -> str:
        return self.dolby_vision.partition(".")[0]

    @property
    def only_dolby_vision(self) -> bool:
        """Whether the picture has Dolby's own colours (compatibility id 0), which other players cannot show."""
        return self.dolby_vision in ("5.0", "10.0", "20.0")

    @property
    def times_follow(self) -> bool:
        """Whether missing packet times can be computed without decoding: MPEG-1 and 2 number their pictures."""
        return self.codec in ("mpeg1video", "mpeg2video")

    @property
    def display_size(self) -> tuple[int, int]:
        """Width and height as a person sees them: square pixels, turned upright."""
        width = max(1, round(self.width * self.sample_aspect)) if self.sample_aspect >= 1 else self.width
        height = self.height if self.sample_aspect >= 1 else max(1, round(self.height / self.sample_aspect))
        return (height, width) if self.rotation in (90, 270) else (width, height)


class AudioStream(Facts):
    index: int
    codec: str
    profile: str = ""
    sample_rate_hz: int
    channels: int
    language: str = ""
    default: bool = False
    start_s: float = 0.0
    duration_s: float = 0.0
    hidden_s: float = 0.0
    """As in `VideoStream`; the codec's few warm-up samples count too."""
    bitrate_bps: int = 0

    @property
    def first_packet_s(self) -> float:
        return self.start_s

    @property
    def end_s(self) -> float:
        return self.start_s + self.duration_s


class SubtitleStream(Facts):
    """Subtitles that are stored as text; those stored as pictures are left out."""

    index: int
    codec: str
    """ffmpeg's name: subrip, ass, mov_text, webvtt …"""
    language: str = ""
    title: str = ""


class MediaInfo(Facts):
    """What one file contains."""

    container: str
    """The demuxer's name list as ffprobe gives it: `mov,mp4,m4a,3gp,3g2,mj2`."""
    size_bytes: int
    start_s: float = 0.0
    """The container's start time; all other times are relative to it, as with ffmpeg's `-ss`."""
    seekable: bool = True
    """False if the container's clock is another programme's: `start_s` is then our programme's, and seeks do not work."""
    duration_s: float
    """End of the longest video or audio stream, from the packets (headers may be wrong). 0 for a still picture."""
    bitrate_bps: int = 0
    video: VideoStream | None = None
    audio: tuple[AudioStream, ...] = ()
    """If a transport stream has several programmes: of the video's, or without video of the first one with audio."""
    subtitles: tuple[SubtitleStream, ...] = ()
    cover_index: int | None = None
    """Stream index of the cover art."""
    other_streams: tuple[str, ...] = ()
    """Types of the streams that are not used: subtitle, data, attachment, further video, audio of other programmes."""

    @property
    def still(self) -> bool:
        """Whether it is a single picture without a duration."""
        return self.video is not None and not self.audio and not self.duration_s

    @property
    def codecs(self) -> str:
        """For people: `h264 + aac`."""
        video = [self.video.codec] if self.video else []
        return " + ".join([*video, *(audio.codec for audio in self.audio)])

    @property
    def demuxer(self) -> str:
        """The demuxer's name for ffmpeg's `-f`."""
        return self.container.split(",", maxsplit=1)[0]
