"""Copying streams without encoding: what each container can hold, and the options that make the copy playable.

A test copies each entry with ffmpeg and compares the result (tests/execution/test_copies.py). The table leaves out what
ffmpeg reads back as something else (MP2 in mp4) and what hardly any player supports (PCM in mp4).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mps_dagster.errors import ContentUnsupported, InvalidConfiguration
from mps_dagster.ffmpeg.codecs import MUXERS, VIDEO_ENCODERS, Options
from mps_dagster.media.info import AudioStream, VideoStream


@dataclass(frozen=True, slots=True)
class CopySupport:
    """One row per container; codecs by ffmpeg's names."""

    video: frozenset[str]
    audio: frozenset[str]
    shows: bool = True
    """Whether it stores how to show the picture: rotated, mirrored, cropped, with pixels that are not square."""
    edits: bool = False
    """Whether it has edit lists, which hide a part of what is stored."""


def _support(video: str, audio: str, **more: bool) -> CopySupport:
    return CopySupport(frozenset(video.split()), frozenset(audio.split()), **more)


_MPEG = "h264 hevc mpeg4 mpeg2video mpeg1video"
_PCM_WAV = "pcm_u8 pcm_s16le pcm_s24le pcm_s32le pcm_f32le pcm_f64le pcm_alaw pcm_mulaw"
_PCM_MOV = f"{_PCM_WAV} pcm_s8 pcm_s16be pcm_s24be pcm_s32be pcm_f32be pcm_f64be"
_MP4_SEGMENTS = "hls in MP4 segments"

COPY_SUPPORT: Mapping[str, CopySupport] = {
    "mp4": _support(f"{_MPEG} av1 vp9 mjpeg", "aac mp3 ac3 eac3 alac flac opus", edits=True),
    "mov": _support(
        f"{_MPEG} mjpeg prores dnxhd png qtrle dvvideo jpeg2000 cinepak h263 v210 cfhd",
        f"aac mp3 mp2 ac3 eac3 alac amr_nb adpcm_ima_qt {_PCM_MOV}",
        edits=True,
    ),
    "mkv": _support(
        f"{_MPEG} av1 vp9 vp8 mjpeg prores dnxhd png dvvideo jpeg2000 cinepak h263 v210 cfhd ffv1 theora flv1 "
        "msmpeg4v2 msmpeg4v3 wmv1 wmv2 utvideo huffyuv",
        "aac mp3 mp2 ac3 eac3 alac flac opus vorbis dts truehd mlp tta wavpack wmav1 wmav2 amr_nb adpcm_ms adpcm_ima_wav "
        f"pcm_s16be pcm_s24be pcm_s32be {_PCM_WAV}",
    ),
    "webm": _support("vp8 vp9 av1", "opus vorbis"),
    "ts": _support(_MPEG, "aac mp3 mp2 ac3 eac3 dts opus s302m", shows=False),
    "flv": _support("h264 flv1", "aac mp3", shows=False),
    "hls": _support("h264 hevc", "aac mp3 ac3 eac3", shows=False),
    _MP4_SEGMENTS: _support("h264 hevc av1 vp9", "aac mp3 ac3 eac3 alac flac opus"),
    "mp3": _support("", "mp3"),
    "m4a": _support("", "aac alac", edits=True),
    "flac": _support("", "flac"),
    "ogg": _support("", "opus vorbis flac"),
    "wav": _support("", f"adpcm_ms adpcm_ima_wav {_PCM_WAV}"),
}

_FLV_MP3_HZ = frozenset({11_025, 22_050, 44_100, 48_000})
"""FLV's header has no other rates for MP3."""
_HIDDEN_S = 0.1
"""Less is a codec's warm-up, not a cut."""


def copy_target(container: str, *, mp4_segments: bool) -> str:
    """The output's row in `COPY_SUPPORT`."""
    return _MP4_SEGMENTS if container == "hls" and mp4_segments else container


def video_copy_options(video: VideoStream, target: str) -> Options:
    """Output options for the video; raises if the copy would differ from the source or would not be upright."""
    _check_supported("video", video, target)
    if (change := _display_change(video)) and not COPY_SUPPORT[target].shows:
        segments = ", or set segment_type to 7 or 5" if target == "hls" else ""
        raise InvalidConfiguration(
            f"the source's picture is {change} by its header, which {target} does not keep",
            hint=f"{_codec_hint('video', target)}, which applies this to the picture; or copy it into mp4, mov or mkv{segments}",
        )
    if video.only_dolby_vision and target != "mp4":
        raise ContentUnsupported(
            f"the video is Dolby Vision profile {video.dolby_vision_profile}, which can be copied into mp4 only",
            hint="set the container to mp4, or export the source as HDR10, HLG or SDR",
        )
    if video.untimed and not video.times_follow:
        raise InvalidConfiguration(
            f"the source lacks the times of its pictures, and {video.codec} stores them in another order than they are shown",
            hint=_codec_hint("video", target),
        )
    options: Options = {"c:v": "copy"}
    in_mp4 = target in ("mp4", "mov", _MP4_SEGMENTS)
    if video.tag == "avc3" and in_mp4:
        # With avc3, H.264's parameter sets may be among the pictures only; avc1 needs them in the header.
        options |= {"tag:v": "avc1", "bsf:v": "h264_mp4toannexb,extract_extradata"}
    if video.codec == "hevc" and in_mp4:
        # Apple plays only `hvc1`, which has its parameter sets only in the header. Without the filters, later parameter
        # sets would be dropped, and pictures after a change of size could not be decoded.
        options |= {"tag:v": "hvc1", "bsf:v": "hevc_mp4toannexb,extract_extradata"}
    if video.dolby_vision and target == "mp4":
        # `unofficial` writes Dolby's configuration box; `dvh1` marks video that only Dolby Vision players can show.
        options |= {"strict": "unofficial", **({"tag:v": "dvh1"} if video.only_dolby_vision else {})}
    if video.codec == "mpeg4" and target == "ts":
        # Other containers have MPEG-4's header in their own header.
        options["bsf:v"] = "dump_extra"
    return options


def audio_copy_options(streams: tuple[AudioStream, ...], target: str) -> Options:
    """Output options for the audio; raises if the container cannot hold it unchanged."""
    for stream in streams:
        _check_supported("audio", stream, target)
        if not _supports_rate(stream, target):
            raise InvalidConfiguration(
                f"the source's audio is MP3 of {stream.sample_rate_hz} Hz, which {target} cannot hold",
                hint=_codec_hint("audio", target),
            )
    options: Options = {"c:a": "copy"}
    if target == _MP4_SEGMENTS and any(stream.codec == "aac" for stream in streams):
        # AAC in transport streams is ADTS. Other muxers convert it themselves; the filter passes what is not ADTS.
        options["bsf:a"] = "aac_adtstoasc"
    return options


def can_copy_audio(streams: tuple[AudioStream, ...], target: str) -> bool:
    """Whether `audio_copy_options` accepts all of them."""
    return all(
        stream.codec in COPY_SUPPORT[target].audio and not _is_cut(stream, target) and _supports_rate(stream, target)
        for stream in streams
    )


def _display_change(video: VideoStream) -> str:
    """What the container tells players to do with the picture; empty if nothing."""
    if video.turned:
        return "mirrored" if video.mirrored else f"turned by {video.rotation} degrees"
    return "cropped or stretched" if video.shaped_by_container else ""


def _check_supported(kind: str, stream: VideoStream | AudioStream, target: str) -> None:
    """Checked this late because only the probe knows codecs and edit lists."""
    if stream.codec not in _codecs(kind, target):
        hint = _codec_hint(kind, target)
        if target == "hls" and stream.codec in _codecs(kind, _MP4_SEGMENTS):
            hint = f"set segment_type to 7 or 5, or {hint}"
        raise InvalidConfiguration(
            f"the source's {kind} is {stream.codec}, which {target} cannot hold unchanged", hint=hint
        )
    if _is_cut(stream, target):
        raise InvalidConfiguration(
            f"an edit list hides {stream.hidden_s:.2f} s of the source's {kind}, which {target} would show",
            hint=f"{_codec_hint(kind, target)}; or copy it into mp4 or mov",
        )


def _codecs(kind: str, target: str) -> frozenset[str]:
    return COPY_SUPPORT[target].video if kind == "video" else COPY_SUPPORT[target].audio


def _is_cut(stream: VideoStream | AudioStream, target: str) -> bool:
    return stream.hidden_s > _HIDDEN_S and not COPY_SUPPORT[target].edits


def _supports_rate(stream: AudioStream, target: str) -> bool:
    return target != "flv" or stream.codec != "mp3" or stream.sample_rate_hz in _FLV_MP3_HZ


def _codec_hint(kind: str, target: str) -> str:
    muxer = MUXERS[target.partition(" ")[0]]
    video = sorted(codec for codec in muxer.video if target != "hls" or not VIDEO_ENCODERS[codec].hls_fmp4_only)
    return f"name a codec: {', '.join(video if kind == 'video' else muxer.audio)}"
