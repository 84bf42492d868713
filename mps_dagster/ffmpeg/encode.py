"""Video and audio parameters in MPS's terms (reference A.5), and their translation to ffmpeg's options."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from mps_dagster.errors import InvalidConfiguration
from mps_dagster.ffmpeg.codecs import (
    AUDIO_ENCODERS,
    MUXERS,
    STREAM,
    VIDEO_ENCODERS,
    AudioCodec,
    Effort,
    Options,
    VideoCodec,
)
from mps_dagster.ffmpeg.colour import has_alpha
from mps_dagster.ffmpeg.loudness import Loudness
from mps_dagster.ffmpeg.measures import CRF
from mps_dagster.ffmpeg.quality import Quality
from mps_dagster.frozen import OURS, REQUIRED, Api, Facts, contradiction
from mps_dagster.media.geometry import Adaptive, FillType
from mps_dagster.media.info import AudioStream, MediaInfo, VideoStream

Kbps = Annotated[int, Field(ge=0, le=100_000, description="kbit/s; 0 = as the source.")]
MpsKbps = Annotated[int, Field(ge=0, le=256)]
Side = Annotated[int, Field(ge=0, le=4096, description="Pixels; 0 = follows from the other side."), Api(least=128)]
VIDEO_NAMES = {"h264": "libx264", "h265": "libx265"}
AUDIO_NAMES = {"aac": "libfdk_aac", "mp3": "libmp3lame"}
"""MPS takes codecs by name and tells of them by encoder (reference J.9)."""
HVC1_CONTAINERS = ("mp4", "mov", "hls", STREAM)
"""Where H.265 is tagged `hvc1`, as Apple plays no other."""
OTHER_VIDEO = ("h266", "vp8", "mpeg2", "dnxhd", "mv-hevc")
OTHER_AUDIO = ("mp2", "ac3", "eac3")
"""Codecs of MPS that are not offered."""


class VideoTemplate(Facts):
    """Reference A.5, VideoTemplateInfo."""

    not_offered: ClassVar = {
        "Stereo3dType": "", "Sar": "", "RawPts": 0, "Compress": 0, "ScenarioBased": 0, "SceneType": "", "CompressType": "",
        "SegmentSpecificInfo": ..., "ContentAdaptStream": ...,
    }  # fmt: skip

    codec: Annotated[VideoCodec, Api(required=True, words=VIDEO_NAMES, refused=OTHER_VIDEO)] = Field(
        "h264", description="copy leaves the picture as it is."
    )
    fps: Annotated[int, REQUIRED] = Field(
        0, ge=0, le=1_000_000, description="Frames per second, 120 at most; 0 = as the source, variable rates included."
    )
    fps_denominator: int = Field(
        1, ge=1, le=1_000_000, description="The rate is fps / fps_denominator: 30000 / 1001 is 29.97."
    )
    bitrate: Annotated[Kbps, Api(required=True, least=128)] = Field(
        0, description="kbit/s; 0 = as the source, or by quality where vcrf is given."
    )
    mode: Literal["VBR", "ABR", "CBR", "VCRF", "CRF"] = Field(
        "VBR", description="Variable, average or constant bitrate, or (VCRF, CRF) constant quality."
    )
    vcrf: Annotated[int | None, Api(unset=100)] = Field(
        None, ge=0, le=51, description="Quality, lower is better. With VBR, bitrate is the ceiling."
    )
    resolution_adaptive: Adaptive = "open"
    width: Side = 0
    height: Side = 0
    fill_type: FillType = "black"
    gop: int = Field(0, ge=0, le=100_000, description="Frames or seconds between key frames; 0 = the encoder decides.")
    gop_unit: Literal["frame", "second"] = Field("frame", description="The unit of gop.")
    no_scenecut: Literal[0, 1] = Field(0, description="1 = no extra key frames where the scene changes.")
    bframes: Annotated[int | None, Api(unset=-1)] = Field(
        None, ge=0, le=16, description="B-frames in a row; empty = the encoder decides."
    )
    video_profile: Literal["default", "baseline", "main", "high", ""] = Field("default", description="h264 only.")
    video_level: Annotated[str, Field(pattern=r"^$|^\d(\.\d)?$")] = Field(
        "", description="h264 and h265: `4`, `4.1` …; empty = the encoder decides."
    )
    bit_depth: Literal[8, 10] = Field(8, description="10 keeps HDR in h265, av1 and vp9.")
    alpha: Annotated[Literal[0, 1], OURS] = Field(
        0, description="Ours, not MPS's: 1 keeps transparency (vp9 in webm or mkv, 8 bits)."
    )
    hls_time: int = Field(6, ge=1, le=10, description="Seconds a segment. Apple recommends 6.")
    segment_type: Literal[0, 2, 5, 7] = Field(
        0, description="0 TS files, 2 TS byte ranges, 7 MP4 files, 5 MP4 byte ranges."
    )
    effort: Annotated[Effort, OURS] = "balanced"
    quality: Annotated[Quality | None, OURS] = Field(
        None,
        description="Ours: how the encoded picture is scored; empty = not, or with VMAF if quality_target is given.",
    )
    quality_target: Annotated[float | None, OURS] = Field(
        None,
        ge=50,
        le=97,
        description="Ours: the VMAF score to reach, in place of vcrf. 93 looks like the source to most.",
    )

    @model_validator(mode="after")
    def _is_consistent(self) -> VideoTemplate:
        if self.fps > 120 * self.fps_denominator:
            raise contradiction("Fps", "fps / fps_denominator is at most 120 frames per second")
        if self.mode in ("ABR", "CBR") and not self.bitrate:
            raise ValueError(f"mode {self.mode} needs a bitrate")
        if self.resolution_adaptive == "open" and self.width and self.height and self.width < self.height:
            raise ValueError("with resolution_adaptive open, width is the long side and must not be below height")
        if self.mode == "CBR" and self.codec == "av1":
            raise ValueError("CBR is not offered for av1; use VBR or ABR")
        if self.alpha and (self.codec != "vp9" or self.bit_depth != 8):
            raise ValueError(
                "alpha 1 is for vp9 with a bit_depth of 8; nothing else that players know has transparency"
            )
        if self.video_profile not in ("default", "") and self.codec != "h264":
            raise ValueError("video_profile is for h264 only")
        self._check_quality()
        return self

    def _check_quality(self) -> None:
        if (self.quality or self.quality_target) and self.codec == "copy":
            raise ValueError("quality and quality_target need the video encoded; a copy is as good as its source")
        if self.quality_target is None:
            return
        if self.mode in ("ABR", "CBR"):
            raise ValueError(f"quality_target finds a quality, and mode {self.mode} sets a bitrate; use VBR or CRF")
        if self.vcrf is not None:
            raise ValueError("quality_target finds the quality that vcrf sets; leave one of them out")
        if self.quality and self.quality.metric != "vmaf":
            raise ValueError("quality_target is a VMAF score; set quality.metric to vmaf")
        if self.quality and self.quality.against != "output":
            raise ValueError(
                "quality_target is what the encoder may lose, whatever the size; set quality.against to output"
            )

    @property
    def scored(self) -> Quality | None:
        """How the output is scored."""
        return self.quality or (Quality() if self.quality_target is not None else None)

    def frame_rate(self, video: VideoStream) -> Fraction | None:
        """The rate to convert to; None keeps the source's frames as they are."""
        if self.fps:
            return Fraction(self.fps, self.fps_denominator)
        # Phones and broken headers claim thousands; no screen shows more than 120.
        return Fraction(120) if video.frame_rate and video.frame_rate > 120 else None

    def average_rate(self, video: VideoStream) -> Fraction:
        """Frames per second of what is made of this video."""
        return self.frame_rate(video) or video.frame_rate or Fraction(25)


class AudioTemplate(Facts):
    """Reference A.5, AudioTemplateInfo."""

    not_offered: ClassVar = dict.fromkeys(("TrackChannelInfo", "AudioLanguage", "AudioName", "DefaultTrack"), ...)

    codec: Annotated[AudioCodec | None, Api(required=True, words=AUDIO_NAMES, refused=OTHER_AUDIO)] = Field(
        None, description="Empty = what the container commonly holds."
    )
    bitrate: Annotated[int, Api(required=True, least=26, type=MpsKbps)] = Field(
        0, ge=0, le=512, description="kbit/s; 0 = as the source."
    )
    sample_rate: Annotated[Literal[0, 8000, 16000, 22050, 24000, 32000, 44100, 48000, 96000], REQUIRED] = Field(
        0, description="Hz; 0 = as the source."
    )
    audio_channel: Literal[0, 1, 2, 6] = Field(2, description="0 = as the source.")
    stream_selects: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Api(shown=False)] = Field(
        (), description="Which audio tracks; empty = all."
    )
    loudness: Annotated[Loudness | None, OURS] = Field(
        None, description="Ours: the loudness to bring every track to; empty = as the source."
    )

    @model_validator(mode="after")
    def _is_encoded(self) -> AudioTemplate:
        if self.loudness and self.codec == "copy":
            raise ValueError("loudness needs the audio encoded; codec copy leaves it as it is")
        return self


def container_problem(
    container: str, video: VideoTemplate, audio: AudioTemplate, *, with_video: bool, with_audio: bool
) -> str:
    """Why the container cannot hold the streams, with what it can hold; empty if it can."""
    muxer = MUXERS[container]
    if with_video and video.codec != "copy" and video.codec not in muxer.video:
        return f"{container} cannot hold {video.codec} video; it takes {', '.join(sorted(muxer.video))}"
    if with_audio and audio.codec not in (None, "copy", *muxer.audio):
        return f"{container} cannot hold {audio.codec} audio; it takes {', '.join(muxer.audio)}"
    if with_video and video.alpha and container not in ("webm", "mkv"):
        return f"{container} cannot hold transparency; for alpha 1, use webm or mkv"
    if with_audio and len(audio.stream_selects) > 1 and not muxer.many_audio:
        return f"{container} holds one audio track; stream_selects names {len(audio.stream_selects)}"
    if container == "hls" and with_video and video.codec in ("av1", "vp9") and video.segment_type in (0, 2):
        return f"HLS can hold {video.codec} in MP4 segments only; set segment_type to 7 or 5"
    return ""


def video_options(template: VideoTemplate, video: VideoStream, container: str, key_every_s: float = 0.0) -> Options:
    """The encoder's options: quality, rate, key frames, profile and timing.

    `key_every_s` is how often there must be a key frame, at least; 0 = as the template says.
    """
    encoder = VIDEO_ENCODERS[template.codec]
    options: Options = {"c:v": encoder.encoder, **encoder.effort[template.effort], **encoder.extra}
    options |= _rate_control(template, video, encoder.default_crf)
    options |= _key_frames(template, video, key_every_s)
    if template.bframes is not None and template.codec in ("h264", "h265"):
        options["bf"] = template.bframes
    if template.video_profile not in ("default", ""):
        options["profile:v"] = template.video_profile
    if template.video_level and template.codec in ("h264", "h265"):
        options["level"] = template.video_level
    if template.codec == "h265" and container in HVC1_CONTAINERS:
        options["tag:v"] = "hvc1"
    # Keep the source's time stamps; a filter makes a constant rate if the template sets one.
    options["fps_mode"] = "passthrough" if template.frame_rate(video) else "vfr"
    if not template.frame_rate(video) and not video.rounded_times:
        # Otherwise ffmpeg rounds times to the average frame rate, and drops frames whose times become equal.
        options["enc_time_base"] = "1:90000"
    return options


def pixel_format(template: VideoTemplate, video: VideoStream) -> str:
    if keeps_alpha(template, video):
        return "yuva420p"
    return "yuv420p10le" if template.bit_depth == 10 else "yuv420p"


def blend_format(template: VideoTemplate) -> str:
    """`pixel_format` without alpha, in the overlay filter's spelling."""
    return "yuv420p10" if template.bit_depth == 10 else "yuv420"


def keeps_alpha(template: VideoTemplate, video: VideoStream) -> bool:
    return template.alpha == 1 and has_alpha(video)


def keeps_hdr(template: VideoTemplate) -> bool:
    """Whether HDR and wide colours stay: 8 bits cannot store them, and players assume SDR for h264."""
    return template.bit_depth == 10 and template.codec != "h264"


def language_options(streams: tuple[AudioStream, ...]) -> Options:
    """Keeps each track's language."""
    return {
        f"metadata:s:a:{number}": f"language={stream.language}"
        for number, stream in enumerate(streams)
        if stream.language
    }


def audio_options(template: AudioTemplate, streams: tuple[AudioStream, ...], container: str) -> Options:
    """The options of the encoder, which is the same for all tracks."""
    codec = template.codec or MUXERS[container].audio[0]
    options: Options = {"c:a": AUDIO_ENCODERS[codec]}
    if codec in ("aac", "mp3", "opus"):
        source_kbps = max((stream.bitrate_bps for stream in streams), default=0) // 1000
        # The source's bitrate within limits: encoders refuse PCM's 1 411 kbit/s, and a telephone's 8 would sound awful.
        kbps = template.bitrate or min(max(source_kbps, 48), 256)
        options["b:a"] = f"{kbps}k"
    if template.audio_channel:
        options["ac"] = template.audio_channel
    if rate := _sample_rate(template, codec, container):
        options["ar"] = rate
    return options


def select_audio(template: AudioTemplate, media: MediaInfo, container: str) -> tuple[AudioStream, ...]:
    """The output's tracks: all if the container can hold several, otherwise the default one."""
    streams = media.audio
    if template.stream_selects:
        missing = [number for number in template.stream_selects if number >= len(streams)]
        if missing:
            raise InvalidConfiguration(
                f"audio track {missing[0]} does not exist; the source has {len(streams)}, from 0"
            )
        streams = tuple(streams[number] for number in template.stream_selects)
    if MUXERS[container].many_audio:
        return streams
    return tuple(sorted(streams, key=lambda stream: not stream.default)[:1])


def _rate_control(template: VideoTemplate, video: VideoStream, default_crf: int) -> Options:
    by_quality = template.vcrf is not None or template.quality_target is not None
    kbps = template.bitrate or (0 if by_quality or template.mode in ("VCRF", "CRF") else video.bitrate_bps // 1000)
    kbps = min(max(kbps, 64), 100_000) if kbps else 0
    if template.mode == "CBR":
        return {"b:v": f"{kbps}k", "minrate": f"{kbps}k", "maxrate": f"{kbps}k", "bufsize": f"{kbps}k"}
    if template.mode in ("VCRF", "CRF") or (template.mode == "VBR" and (by_quality or not kbps)):
        crf: int | str = template.vcrf if template.vcrf is not None else default_crf
        # The search fills it in.
        crf = CRF if template.quality_target is not None else crf
        ceiling = kbps if template.mode == "VBR" else 0
        if template.codec == "vp9":
            return {"crf": crf, "b:v": f"{ceiling}k" if ceiling else 0}
        return {"crf": crf, **({"maxrate": f"{ceiling}k", "bufsize": f"{2 * ceiling}k"} if ceiling else {})}
    options: Options = {"b:v": f"{kbps}k"}
    if template.mode == "VBR" and template.codec != "av1":
        # SVT-AV1 accepts a ceiling only with constant quality.
        options |= {"maxrate": f"{kbps * 3 // 2}k", "bufsize": f"{kbps * 2}k"}
    return options


def _key_frames(template: VideoTemplate, video: VideoStream, every_s: float) -> Options:
    options: Options = {}
    rate = template.average_rate(video)
    if template.gop:
        options["g"] = template.gop if template.gop_unit == "frame" else max(1, round(template.gop * rate))
    if template.no_scenecut and template.codec == "h264":
        options["sc_threshold"] = 0
    if every_s:
        # Segments start with a key frame, at the same times in every rendition and at every frame rate.
        options["force_key_frames"] = f"expr:gte(t,n_forced*{every_s:.9g})"
    if template.codec == "h265":
        params = "log-level=error" + (":scenecut=0" if template.no_scenecut else "")
        # With x265's open GOPs, a segment's first frames would depend on the previous segment.
        options["x265-params"] = params + (":open-gop=0" if every_s else "")
    return options


def _sample_rate(template: AudioTemplate, codec: str, container: str) -> int:
    if codec == "opus":
        return 48_000
    if container == "flv" and codec == "mp3":
        # FLV's header has no other rates for MP3.
        return 44_100
    return template.sample_rate
