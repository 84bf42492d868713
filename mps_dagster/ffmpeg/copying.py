"""Streams that are copied as they are: what each container holds of them, and what ffmpeg needs so that the copy plays.

Each entry was copied by ffmpeg, read back, and was the same (tests/execution/test_copies.py). What ffmpeg writes but
reads back as something else (MP2 in mp4), and what hardly anything else plays (PCM in mp4), is not in the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mps_dagster.errors import ContentUnsupported, InvalidConfiguration
from mps_dagster.ffmpeg.codecs import MUXERS, VIDEO_ENCODERS, Options
from mps_dagster.media.info import AudioStream, VideoStream


@dataclass(frozen=True, slots=True)
class Holds:
    """One row per container; codecs by ffmpeg's names."""

    video: frozenset[str]
    audio: frozenset[str]
    shows: bool = True
    """Whether it can tell a player how to show the picture: turned, mirrored, cropped, with pixels that are not square."""
    edits: bool = False
    """Whether it can hide what is stored: an edit list."""


def _holds(video: str, audio: str, **more: bool) -> Holds:
    return Holds(frozenset(video.split()), frozenset(audio.split()), **more)


_MPEG = "h264 hevc mpeg4 mpeg2video mpeg1video"
_PCM_WAV = "pcm_u8 pcm_s16le pcm_s24le pcm_s32le pcm_f32le pcm_f64le pcm_alaw pcm_mulaw"
_PCM_MOV = f"{_PCM_WAV} pcm_s8 pcm_s16be pcm_s24be pcm_s32be pcm_f32be pcm_f64be"
_MP4_SEGMENTS = "hls in MP4 segments"

HOLDS: Mapping[str, Holds] = {
    "mp4": _holds(f"{_MPEG} av1 vp9 mjpeg", "aac mp3 ac3 eac3 alac flac opus", edits=True),
    "mov": _holds(
        f"{_MPEG} mjpeg prores dnxhd png qtrle dvvideo jpeg2000 cinepak h263 v210 cfhd",
        f"aac mp3 mp2 ac3 eac3 alac amr_nb adpcm_ima_qt {_PCM_MOV}",
        edits=True,
    ),
    "mkv": _holds(
        f"{_MPEG} av1 vp9 vp8 mjpeg prores dnxhd png dvvideo jpeg2000 cinepak h263 v210 cfhd ffv1 theora flv1 "
        "msmpeg4v2 msmpeg4v3 wmv1 wmv2 utvideo huffyuv",
        "aac mp3 mp2 ac3 eac3 alac flac opus vorbis dts truehd mlp tta wavpack wmav1 wmav2 amr_nb adpcm_ms adpcm_ima_wav "
        f"pcm_s16be pcm_s24be pcm_s32be {_PCM_WAV}",
    ),
    "webm": _holds("vp8 vp9 av1", "opus vorbis"),
    "ts": _holds(_MPEG, "aac mp3 mp2 ac3 eac3 dts opus s302m", shows=False),
    "flv": _holds("h264 flv1", "aac mp3", shows=False),
    "hls": _holds("h264 hevc", "aac mp3 ac3 eac3", shows=False),
    _MP4_SEGMENTS: _holds("h264 hevc av1 vp9", "aac mp3 ac3 eac3 alac flac opus"),
    "mp3": _holds("", "mp3"),
    "m4a": _holds("", "aac alac", edits=True),
    "flac": _holds("", "flac"),
    "ogg": _holds("", "opus vorbis flac"),
    "wav": _holds("", f"adpcm_ms adpcm_ima_wav {_PCM_WAV}"),
}

_FLV_MP3_HZ = frozenset({11_025, 22_050, 44_100, 48_000})
"""FLV's header has no other rates for MP3."""
_HIDDEN_S = 0.1
"""Less than that is a codec's warm-up, not a cut."""


def row(container: str, *, mp4_segments: bool) -> str:
    """The row of `HOLDS` for an output."""
    return _MP4_SEGMENTS if container == "hls" and mp4_segments else container


def copied_video(video: VideoStream, where: str) -> Options:
    """Output options for the picture; refused where the copy would not be the same, or not be upright."""
    _check_held("video", video, where)
    if (how := _shown_by_header(video)) and not HOLDS[where].shows:
        segments = ", or set segment_type to 7 or 5" if where == "hls" else ""
        raise InvalidConfiguration(
            f"the source's picture is {how} by its header, which {where} does not keep",
            hint=f"{_name_a_codec('video', where)}, which makes it so; or copy it into mp4, mov or mkv{segments}",
        )
    if video.only_dolby_vision and where != "mp4":
        raise ContentUnsupported(
            f"the video is Dolby Vision profile {video.dolby_vision_profile}, which is copied into mp4 only",
            hint="set the container to mp4, or export the source as HDR10, HLG or SDR",
        )
    if video.untimed and not video.times_follow:
        raise InvalidConfiguration(
            f"the source does not say when its pictures are shown, and {video.codec} stores them in another order",
            hint=_name_a_codec("video", where),
        )
    options: Options = {"c:v": "copy"}
    boxes = where in ("mp4", "mov", _MP4_SEGMENTS)
    if video.tag == "avc3" and boxes:
        # H.264's parameter sets may be among the pictures only; as avc1, they are in the header.
        options |= {"tag:v": "avc1", "bsf:v": "h264_mp4toannexb,extract_extradata"}
    if video.codec == "hevc" and boxes:
        # Apple plays `hvc1` alone, whose parameter sets are in the header and nowhere else. Without the filters those
        # that come with later pictures would be dropped, and with them every picture after a change of size.
        options |= {"tag:v": "hvc1", "bsf:v": "hevc_mp4toannexb,extract_extradata"}
    if video.dolby_vision and where == "mp4":
        # Dolby's own box, and for what nothing but Dolby can show its own name.
        options |= {"strict": "unofficial", **({"tag:v": "dvh1"} if video.only_dolby_vision else {})}
    if video.codec == "mpeg4" and where == "ts":
        # Elsewhere its header is in the container's.
        options["bsf:v"] = "dump_extra"
    return options


def copied_audio(streams: tuple[AudioStream, ...], where: str) -> Options:
    """Output options for the sound; refused where the container does not hold it as it is."""
    for stream in streams:
        _check_held("audio", stream, where)
        if not _has_rate(stream, where):
            raise InvalidConfiguration(
                f"the source's audio is MP3 of {stream.sample_rate_hz} Hz, which {where} does not hold",
                hint=_name_a_codec("audio", where),
            )
    options: Options = {"c:a": "copy"}
    if where == _MP4_SEGMENTS and any(stream.codec == "aac" for stream in streams):
        # Transport streams have it as ADTS. The other muxers see to that by themselves; what is not ADTS passes.
        options["bsf:a"] = "aac_adtstoasc"
    return options


def can_copy_audio(streams: tuple[AudioStream, ...], where: str) -> bool:
    """Whether `copied_audio` takes all of them."""
    return all(
        stream.codec in HOLDS[where].audio and not _is_cut(stream, where) and _has_rate(stream, where)
        for stream in streams
    )


def _shown_by_header(video: VideoStream) -> str:
    """What the container tells a player to do with the picture; empty if nothing."""
    if video.turned:
        return "mirrored" if video.mirrored else f"turned by {video.rotation} degrees"
    return "cropped or stretched" if video.shaped_by_container else ""


def _check_held(kind: str, stream: VideoStream | AudioStream, where: str) -> None:
    """Only the probe knows codecs and edit lists, so this is not checked before."""
    if stream.codec not in _codecs(kind, where):
        hint = _name_a_codec(kind, where)
        if where == "hls" and stream.codec in _codecs(kind, _MP4_SEGMENTS):
            hint = f"set segment_type to 7 or 5, or {hint}"
        raise InvalidConfiguration(
            f"the source's {kind} is {stream.codec}, which {where} does not hold as it is", hint=hint
        )
    if _is_cut(stream, where):
        raise InvalidConfiguration(
            f"an edit list hides {stream.hidden_s:.2f} s of the source's {kind}, which {where} would show",
            hint=f"{_name_a_codec(kind, where)}; or copy it into mp4 or mov",
        )


def _codecs(kind: str, where: str) -> frozenset[str]:
    return HOLDS[where].video if kind == "video" else HOLDS[where].audio


def _is_cut(stream: VideoStream | AudioStream, where: str) -> bool:
    return stream.hidden_s > _HIDDEN_S and not HOLDS[where].edits


def _has_rate(stream: AudioStream, where: str) -> bool:
    return where != "flv" or stream.codec != "mp3" or stream.sample_rate_hz in _FLV_MP3_HZ


def _name_a_codec(kind: str, where: str) -> str:
    muxer = MUXERS[where.partition(" ")[0]]
    video = sorted(codec for codec in muxer.video if where != "hls" or not VIDEO_ENCODERS[codec].hls_fmp4_only)
    return f"name a codec: {', '.join(video if kind == 'video' else muxer.audio)}"
