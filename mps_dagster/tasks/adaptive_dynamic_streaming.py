"""Templates of adaptive bitrate streaming: only stored and shown, as there is no such task yet."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from mps_dagster.ffmpeg.encode import AudioTemplate, VideoTemplate
from mps_dagster.frozen import REQUIRED, Facts
from mps_dagster.tasks.mps import Filter, TemplateType
from mps_dagster.tasks.spec import Spec


class SubStream(Facts):
    """One rendition (reference D.7)."""

    not_offered: ClassVar = {"AudioList": []}

    video: VideoTemplate | None = Field(None, description="Not given for sound alone.")
    audio: Annotated[AudioTemplate, REQUIRED] = Field(description="Its sound.")
    remove_audio: Literal[0, 1] = Field(0, description="1 = without sound.")
    remove_video: Literal[0, 1] = Field(0, description="1 = without picture.")


class AdaptiveDynamicStreamingSpec(Spec):
    """Reference D.7."""

    format: Annotated[Literal["HLS", "MPEG-DASH"], REQUIRED] = Field(description="Kind of playlist.")
    stream_infos: Annotated[tuple[SubStream, ...], REQUIRED] = Field(
        min_length=1, max_length=10, description="The renditions."
    )
    disable_higher_video_bitrate: Literal[0, 1] = Field(0, description="1 = never more kbit/s than the source.")
    disable_higher_video_resolution: Literal[0, 1] = Field(0, description="1 = never larger than the source.")
    pure_audio: Literal[0, 1] = Field(0, description="1 = renditions of sound alone.")
    segment_type: Literal[
        "ts-segment", "ts-byterange", "mp4-segment", "mp4-byterange", "ts-packed-audio", "mp4-packed-audio",
        "ts-ts-segment", "ts-ts-byterange", "mp4-mp4-segment", "mp4-mp4-byterange", "ts-packed-audio-byterange",
        "mp4-packed-audio-byterange",
    ] | None = Field(None, description="Empty = ts-segment for HLS, mp4-byterange for MPEG-DASH.")  # fmt: skip

    @model_validator(mode="after")
    def _is_consistent(self) -> AdaptiveDynamicStreamingSpec:
        if self.format == "MPEG-DASH" and self.segment_type not in (None, "mp4-byterange", "mp4-mp4-byterange"):
            raise ValueError("SegmentType of MPEG-DASH is mp4-byterange or mp4-mp4-byterange")
        for stream in self.stream_infos:
            if stream.remove_video and stream.remove_audio:
                raise ValueError("RemoveVideo and RemoveAudio together leave nothing of a stream")
            if self.pure_audio and (not stream.remove_video or stream.remove_audio):
                raise ValueError("PureAudio is of streams with RemoveVideo 1 and RemoveAudio 0")
            if not self.pure_audio and (stream.video is None or stream.video.codec == "copy"):
                raise ValueError("Video is required of each stream, encoded, unless PureAudio is 1")
        return self


def _describe(spec: AdaptiveDynamicStreamingSpec) -> dict[str, Any]:
    return {"segment_type": spec.segment_type or ("ts-segment" if spec.format == "HLS" else "mp4-byterange")}


TEMPLATE = TemplateType(
    kind="adaptive_dynamic_streaming", wire="AdaptiveDynamicStreaming", model=AdaptiveDynamicStreamingSpec, limit=100, rate=20,
    codes={
        "Comment": "", "StreamInfos": "", "PureAudio": "", "SegmentType": "",
        **{f"StreamInfos.Video.{name}": name for name in ("Codec", "Bitrate", "Fps", "Width", "Height", "Gop", "FillType")},
        **{f"StreamInfos.Audio.{name}": name for name in ("Codec", "Bitrate", "SampleRate")},
        "StreamInfos.Audio.AudioChannel": "SoundSystem", "StreamInfos.RemoveAudio": "RemoveAudio",
        "StreamInfos.RemoveVideo": "RemoveVideo",
    },
    filters={"PureAudio": Filter(Literal[0, 1], lambda spec: spec.pure_audio)},
    describe=_describe,
)  # fmt: skip
