"""Several renditions of the source for players that choose by bandwidth: HLS, MPEG-DASH, or both of the same files.

```yaml
streaming:
  type: adaptive_dynamic_streaming
  outputs:
    - {definition: 10}                                      # HLS, 240p to 2160p
    - name: web
      format: HLS
      segment_type: mp4-mp4-segment                         # CMAF: sound apart, once for all renditions
      also_mpeg_dash: 1
      thumbnails: {interval_s: 5}
      stream_infos:
        - {video: {codec: h264, bitrate: 600, height: 360}, audio: {codec: aac, bitrate: 64}}
        - {video: {codec: h264, bitrate: 2400, height: 720}, audio: {codec: aac, bitrate: 64}}
```
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from mps_dagster.ffmpeg.adaptive import adaptive_plan
from mps_dagster.ffmpeg.adaptive_set import AdaptiveSet
from mps_dagster.ffmpeg.added import AddOnAudio, AddOnSubtitle
from mps_dagster.ffmpeg.encode import AudioTemplate, VideoTemplate
from mps_dagster.ffmpeg.ladder import Caps, Rung
from mps_dagster.ffmpeg.plan import Plan
from mps_dagster.ffmpeg.thumbnails import Thumbs
from mps_dagster.frozen import OURS, PER_TASK, REQUIRED, Api, Facts
from mps_dagster.media.info import MediaInfo
from mps_dagster.streaming.packaging import SegmentKey
from mps_dagster.tasks.mps import Filter, MpsTask, TemplateType
from mps_dagster.tasks.result import SubtaskResult
from mps_dagster.tasks.spec import OutputNames, Spec, TaskType, WatermarkSet, check_comparable, need_length

PATH = "{inputName}_adaptiveDynamicStreaming_{definition}"
SUB_STREAM_PATH = PATH + "_{subStreamNumber}.{format}"
SEGMENT_PATH = PATH + "_{subStreamNumber}_{segmentNumber}.{format}"
SegmentType = Literal[
    "ts-segment", "ts-byterange", "mp4-segment", "mp4-byterange", "ts-packed-audio", "mp4-packed-audio",
    "ts-ts-segment", "ts-ts-byterange", "mp4-mp4-segment", "mp4-mp4-byterange", "ts-packed-audio-byterange",
    "mp4-packed-audio-byterange",
]  # fmt: skip


class SubStream(Facts):
    """One rendition (reference D.7)."""

    not_offered: ClassVar = {"AudioList": []}

    video: VideoTemplate | None = Field(None, description="Not given for sound alone.")
    audio: Annotated[AudioTemplate, REQUIRED] = Field(description="Its sound.")
    remove_audio: Literal[0, 1] = Field(0, description="1 = without sound.")
    remove_video: Literal[0, 1] = Field(0, description="1 = without picture.")


class SimpleAesDrm(Facts):
    """Reference A.7."""

    uri: str = Field(min_length=1, description="Where players get the key: 16 bytes. It may have `{inputName}` in it.")
    key: str = Field(
        "", pattern=r"^([0-9a-fA-F]{32})?$", description="The same, in hexadecimal. It is in the run's config."
    )
    key_object: Annotated[str, OURS] = Field(
        "",
        pattern=r"^([^/]+(//[^/]+)?/.+)?$",
        description="In place of `key`: `bucket/path` of an object with the 16 bytes, which is made if it is not there. It may "
        "have `{inputName}` in it.",
    )
    vector: str = Field("", pattern=r"^([0-9a-fA-F]{32})?$", description="Empty = the number of the segment.")

    @model_validator(mode="after")
    def _has_one_key(self) -> SimpleAesDrm:
        if bool(self.key) == bool(self.key_object):
            raise ValueError("simple_aes_drm takes either a key or a key_object")
        return self


class DrmInfo(Facts):
    """Reference A.7."""

    type: Literal["simpleaes"] = Field("simpleaes", description="The others need a licence server.")
    simple_aes_drm: SimpleAesDrm = Field(description="The key.")


class AdaptiveDynamicStreamingSpec(Spec):
    """Reference A.4 (AdaptiveDynamicStreamingTaskInput) and D.7."""

    format: Annotated[Literal["HLS", "MPEG-DASH"], REQUIRED] = Field(description="Kind of playlist.")
    stream_infos: Annotated[tuple[SubStream, ...], REQUIRED] = Field(
        min_length=1, max_length=10, description="The renditions."
    )
    disable_higher_video_bitrate: Literal[0, 1] = Field(0, description="1 = never more kbit/s than the source.")
    disable_higher_video_resolution: Literal[0, 1] = Field(0, description="1 = never larger than the source.")
    pure_audio: Literal[0, 1] = Field(0, description="1 = renditions of sound alone.")
    segment_type: SegmentType | None = Field(
        None,
        description="Segments of the picture, then of the sound if it is apart. Empty = ts-segment for HLS, mp4-byterange for "
        "MPEG-DASH, whose sound is always apart.",
    )
    also_mpeg_dash: Annotated[Literal[0, 1], OURS] = Field(
        0, description="1 = HLS and MPEG-DASH of the same files; for mp4-mp4-segment and mp4-mp4-byterange."
    )
    least_gain: Annotated[float, OURS] = Field(
        0.0,
        ge=0,
        le=20,
        description="Renditions that score less than so many VMAF points above the next smaller one are left out; 2 is hardly "
        "seen. 0 = all are kept. They are scored as `quality: {against: source}` does, so not with watermarks. With a "
        "quality_target in their `video`, the bits of each are found by samples before.",
    )
    thumbnails: Annotated[Thumbs | None, OURS] = Field(
        None, description="Small pictures for the seek bar: an image playlist (HLS), tiles (MPEG-DASH)."
    )
    source_subtitles: Annotated[Literal[0, 1], OURS] = Field(
        1, description="1 = subtitles inside the source, if they are text, are tracks, too."
    )
    watermark_set: WatermarkSet = ()
    add_on_subtitles: Annotated[tuple[AddOnSubtitle, ...], PER_TASK] = Field(
        (), max_length=20, description="Subtitles (WebVTT, SubRip, ASS) that viewers can switch on."
    )
    add_on_audios: Annotated[tuple[AddOnAudio, ...], PER_TASK] = Field(
        (), max_length=20, description="Further sound; for segment types with sound apart."
    )
    drm_info: Annotated[DrmInfo | None, PER_TASK] = Field(None, description="Encrypts HLS segments with AES-128.")
    sub_stream_object_name: Annotated[str, Api("task", path=SUB_STREAM_PATH)] = Field(
        "", description="Path of the renditions' playlists, relative to the output dir."
    )
    segment_object_name: Annotated[str, Api("task", path=SEGMENT_PATH)] = Field(
        "", description="Path of segments, relative to the output dir."
    )
    definition_type: Annotated[Literal["Common", "PureAudio"] | None, PER_TASK] = Field(
        None, description="Follows from the template."
    )

    @model_validator(mode="after")
    def _is_consistent(self) -> AdaptiveDynamicStreamingSpec:
        if self.format == "MPEG-DASH" and self.segment_type not in (None, "mp4-byterange", "mp4-mp4-byterange"):
            raise ValueError("SegmentType of MPEG-DASH is mp4-byterange or mp4-mp4-byterange")
        if self.also_mpeg_dash and self.format == "HLS" and not self.kind.startswith("mp4-mp4-"):
            raise ValueError("also_mpeg_dash is for segment_type mp4-mp4-segment or mp4-mp4-byterange")
        if self.add_on_audios and self.format == "HLS" and self.kind.count("-") == 1:
            raise ValueError("add_on_audios need a segment_type with sound apart, such as ts-ts-segment")
        if self.least_gain and self.watermark_set:
            raise ValueError(
                "least_gain compares renditions with the source, which has no watermarks; leave one of them out"
            )
        if self.drm_info and (self.format != "HLS" or not self.kind.endswith("-segment")):
            raise ValueError(
                "simpleaes is for HLS in segments: ts-segment, ts-ts-segment, mp4-segment, mp4-mp4-segment"
            )
        if self.drm_info and self.also_mpeg_dash:
            raise ValueError("simpleaes is for HLS; MPEG-DASH does not know it")
        for stream in self.stream_infos:
            self._check_stream(stream)
        for name, variables in (
            ("sub_stream_object_name", ("{subStreamNumber}",)),
            ("segment_object_name", ("{subStreamNumber}", "{segmentNumber}")),
        ):
            self._check_path(name, variables)
        return self

    def _check_stream(self, stream: SubStream) -> None:
        if stream.remove_video and stream.remove_audio:
            raise ValueError("RemoveVideo and RemoveAudio together leave nothing of a stream")
        if self.pure_audio and (not stream.remove_video or stream.remove_audio):
            raise ValueError("PureAudio is of streams with RemoveVideo 1 and RemoveAudio 0")
        if self.pure_audio:
            return
        if stream.video is None or stream.video.codec == "copy":
            raise ValueError("Video is required of each stream, encoded, unless PureAudio is 1")
        own = stream.video.quality
        check_comparable(own, self.watermark_set)
        is_compared = own is None or (own.metric, own.against) == ("vmaf", "source")
        # That of a search compares with what the encoder was given, and gives way once the bits are found.
        if self.least_gain and not is_compared and stream.video.quality_target is None:
            raise ValueError("least_gain compares renditions by VMAF against the source; leave quality out")
        if self.kind.startswith("ts") and stream.video.codec in ("av1", "vp9"):
            raise ValueError(
                f"TS segments cannot hold {stream.video.codec}; choose a segment_type that begins with mp4"
            )

    def _check_path(self, name: str, variables: tuple[str, ...]) -> None:
        path = getattr(self, name)
        if path.startswith("/"):
            raise ValueError(f"{name} is relative to the output dir and has no leading slash")
        missing = [variable for variable in variables if path and variable not in path]
        if missing:
            raise ValueError(f"{name} is one path for several files; put {missing[0]} into it")

    @property
    def kind(self) -> str:
        """The segment type, with its default."""
        return self.segment_type or ("ts-segment" if self.format == "HLS" else "mp4-byterange")

    def extension(self, path: str = "output_object_path") -> str:
        if path == "segment_object_name":
            return "ts" if self.kind.startswith("ts") else "m4s"
        return "m3u8" if self.format == "HLS" else "mpd" if path == "output_object_path" else "mp4"


def plan(spec: AdaptiveDynamicStreamingSpec, media: MediaInfo, names: OutputNames) -> Plan:
    """A part for each rendition and each sound, and their packaging."""
    need_length(media)
    numbers = spec.object_number_format

    def sub_stream(number: int, format: str, *, segment: bool = False) -> str:
        default = SEGMENT_PATH if segment else SUB_STREAM_PATH
        path = (spec.segment_object_name if segment else spec.sub_stream_object_name) or default
        path = path.replace("{subStreamNumber}", str(number)).replace("{segmentNumber}", "{number}")
        return names.key(path, format=format)

    wanted = AdaptiveSet(
        rungs=tuple(_rung(stream) for stream in spec.stream_infos),
        caps=Caps(bool(spec.disable_higher_video_resolution), bool(spec.disable_higher_video_bitrate)),
        kind=spec.kind,
        manifests=(spec.format,) if not spec.also_mpeg_dash else ("HLS", "MPEG-DASH"),
        master=lambda format: names.key(spec.output_object_path or TASK.default_path, format=format),
        sub_stream=sub_stream,
        numbering={
            "first": numbers.initial_value,
            "step": numbers.increment,
            "width": numbers.min_length,
            "placeholder": numbers.place_holder,
        },
        watermarks=spec.watermark_set,
        thumbnails=spec.thumbnails,
        least_gain=spec.least_gain,
        own_subtitles=bool(spec.source_subtitles),
        subtitles=spec.add_on_subtitles,
        sounds=spec.add_on_audios,
        encryption=_key(spec.drm_info.simple_aes_drm) if spec.drm_info else None,
    )
    return adaptive_plan(wanted, media)


def _key(drm: SimpleAesDrm) -> SegmentKey:
    return SegmentKey(uri=drm.uri, key=drm.key, iv=drm.vector)


def _rung(stream: SubStream) -> Rung:
    return Rung(None if stream.remove_video else stream.video, None if stream.remove_audio else stream.audio)


def output(result: SubtaskResult) -> dict[str, Any]:
    """MPS's AdaptiveDynamicStreamingInfoItem."""
    return {"package": result.spec["format"], "path": result.paths[0]}


def _describe(spec: AdaptiveDynamicStreamingSpec) -> dict[str, Any]:
    return {"segment_type": spec.kind}


TASK = TaskType(
    name="adaptive_dynamic_streaming",
    spec=AdaptiveDynamicStreamingSpec,
    plan=plan,
    wire="AdaptiveDynamicStreaming",
    default_path=PATH + ".{format}",
    mps=MpsTask(
        "AdaptiveDynamicStreamingTask", "action-adaptive-substream", output,
        not_offered={
            "BlindWatermark": ..., "SubtitleTemplate": None, "StdExtInfo": "", "KeyPTSList": [], "StdExtStreamInfos": [],
        },
    ),
    template=TemplateType(
        kind="adaptive_dynamic_streaming", wire="AdaptiveDynamicStreaming", model=AdaptiveDynamicStreamingSpec, limit=100,
        rate=20,
        codes={
            "Comment": "", "StreamInfos": "", "PureAudio": "", "SegmentType": "",
            **{f"StreamInfos.Video.{name}": name for name in ("Codec", "Bitrate", "Fps", "Width", "Height", "Gop", "FillType")},
            **{f"StreamInfos.Audio.{name}": name for name in ("Codec", "Bitrate", "SampleRate")},
            "StreamInfos.Audio.AudioChannel": "SoundSystem", "StreamInfos.RemoveAudio": "RemoveAudio",
            "StreamInfos.RemoveVideo": "RemoveVideo",
        },
        filters={"PureAudio": Filter(Literal[0, 1], lambda spec: spec.pure_audio)},
        describe=_describe,
    ),
    heavy=True,
)  # fmt: skip
