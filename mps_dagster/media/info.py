"""`MediaInfo`: what the probe found. Small, frozen, and JSON both ways, because it travels between steps."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

from mps_dagster.frozen import Facts


class VideoStream(Facts):
    """The stream that a person would call the video. Cover art is not one."""

    index: int
    codec: str
    """ffmpeg's name of the codec (not of a decoder): h264, hevc, vp9, av1, mjpeg …"""
    tag: str = ""
    """The container's own name of it, where that is a word: avc1, avc3, hev1, hvc1, dvh1 …"""
    profile: str = ""
    width: int
    """Stored pixels that are to be shown (codec and container may crop), before rotation and sample aspect."""
    height: int
    rotation: int = 0
    """Degrees clockwise that a player turns the picture: 0, 90, 180, 270."""
    mirrored: bool = False
    """Whether a player flips the picture as well: `rotation` is then libav's, and tells half of it."""
    sample_aspect: Fraction = Fraction(1)
    shaped_by_container: bool = False
    """Whether the container alone says what is cropped, or which shape pixels have; the codec does not."""
    pixel_format: str
    bit_depth: int = 8
    alpha: bool = False
    interlaced: bool = False
    """Of the first picture; later ones may be otherwise."""
    color_primaries: str = ""
    color_transfer: str = ""
    color_space: str = ""
    full_range: bool = False
    dolby_vision: str = ""
    """Profile and compatibility id, `8.1`; empty if it is none."""
    frame_rate: Fraction | None = None
    """Frames per second on average over the stream, from its packets; None where that cannot be told."""
    variable_frame_rate: bool = False
    rounded_times: bool = False
    """Whether time stamps are as `frame_rate` has them, but rounded by a coarse clock (Matroska's milliseconds)."""
    start_s: float = 0.0
    """First picture that can be decoded, relative to `MediaInfo.start_s`."""
    first_packet_s: float = 0.0
    """First packet, likewise. It lies before the first picture where a recording does not begin with a key frame."""
    last_s: float = 0.0
    """Last picture's time stamp, relative to `MediaInfo.start_s`: the last point at which a picture can be taken."""
    duration_s: float = 0.0
    """From the first picture to the end of the last one."""
    frames: int = 0
    """Packets with video in them; one per frame in every codec that is accepted."""
    hidden_s: float = 0.0
    """How much is stored and never shown: an edit list leaves it out."""
    untimed: bool = False
    """Whether packets lack the time at which they are shown (B-frames in AVI and program streams): a decoder makes it up."""
    longest_key_gap_s: float = 0.0
    """Longest time without a key frame, to the end included: says if key frames alone can be sampled."""
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
        """Whether the picture is in Dolby's own colours (compatibility id 0), which nothing else can show."""
        return self.dolby_vision in ("5.0", "10.0", "20.0")

    @property
    def times_follow(self) -> bool:
        """Whether the times that packets lack can be made up without decoding: MPEG-1 and 2 number their pictures."""
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
    """As of a video; a codec's few samples of warm-up count too."""
    bitrate_bps: int = 0

    @property
    def first_packet_s(self) -> float:
        return self.start_s

    @property
    def end_s(self) -> float:
        return self.start_s + self.duration_s


class MediaInfo(Facts):
    """One file."""

    container: str
    """The demuxer's name list as ffprobe gives it: `mov,mp4,m4a,3gp,3g2,mj2`."""
    size_bytes: int
    start_s: float = 0.0
    """The container's own start time; every other time here is relative to it, as ffmpeg's `-ss` is."""
    seekable: bool = True
    """False where another programme's clock is the container's: `start_s` is that of ours, and no seek finds a time."""
    duration_s: float
    """End of the longest video or audio stream, from the packets themselves (headers lie). 0 for a still picture."""
    bitrate_bps: int = 0
    video: VideoStream | None = None
    audio: tuple[AudioStream, ...] = ()
    """Of the video's programme, where a transport stream has several; without a video, of the first with sound."""
    cover_index: int | None = None
    """Attached picture (cover art)."""
    other_streams: tuple[str, ...] = ()
    """Kinds of what is left alone: subtitle, data, attachment, second video streams, and the sounds of other programmes."""

    @property
    def still(self) -> bool:
        """Whether it is one picture that lasts no time."""
        return self.video is not None and not self.audio and not self.duration_s

    @property
    def demuxer(self) -> str:
        """The name that `-f` takes."""
        return self.container.split(",", maxsplit=1)[0]
