"""The source in another container, codec, size or bitrate; or only a part of it; or only its sound.

```yaml
web:
  type: transcode
  outputs:
    - {definition: 100030}                                        # MP4, 720p, H.264
    - definition: 100220                                          # HLS, 540p
      override_parameter: {video_template: {hls_time: 4}}
    - name: podcast
      raw_parameter: {container: mp3, audio_template: {bitrate: 128}}
```
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from mps_dagster.ffmpeg.chunked import chunked_plan
from mps_dagster.ffmpeg.chunks import Chunking
from mps_dagster.ffmpeg.codecs import MUXERS, Container
from mps_dagster.ffmpeg.encode import AudioTemplate, VideoTemplate, container_problem
from mps_dagster.ffmpeg.encoding import HEADER, PLAYLIST, Encoding, encoding_plan, segment_pattern
from mps_dagster.ffmpeg.plan import Plan
from mps_dagster.frozen import PER_TASK, Api, contradiction
from mps_dagster.media.info import MediaInfo
from mps_dagster.streaming.segments import Segments
from mps_dagster.tasks.mps import Filter, MpsTask, TemplateType
from mps_dagster.tasks.result import SubtaskResult
from mps_dagster.tasks.spec import OutputNames, Spec, TaskType, WatermarkSet, check_comparable, need_length

SEGMENT_PATH = "{inputName}_transcode_{definition}_{number}.{format}"


class TranscodeSpec(Spec):
    """Reference A.4 (TranscodeTaskInput) and A.5 (RawTranscodeParameter)."""

    not_offered: ClassVar = {
        "TEHDConfig": None, "EnhanceConfig": None, "StdExtInfo": ..., "SubtitleTemplate": ..., "AddonAudioStream": ...,
        "AddOnSubtitles": ...,
    }  # fmt: skip

    container: Annotated[Container, Api(required=True, refused=("mxf",))] = Field(
        "mp4", description="mp3, m4a, flac, ogg and wav hold sound only."
    )
    remove_video: Literal[0, 1] = Field(0, description="1 = sound only.")
    remove_audio: Literal[0, 1] = Field(0, description="1 = without sound.")
    video_template: VideoTemplate = Field(VideoTemplate(), description="How the picture is encoded.")
    audio_template: AudioTemplate = Field(AudioTemplate(), description="How the sound is encoded.")
    watermark_set: WatermarkSet = ()
    start_time_offset: Annotated[float, PER_TASK] = Field(0.0, description="Seconds; negative counts from the end.")
    end_time_offset: Annotated[float, PER_TASK] = Field(0.0, description="Seconds; 0 = to the end.")
    segment_object_name: Annotated[str, Api("task", path=SEGMENT_PATH)] = Field(
        "", description="Path of HLS segments, relative to the output dir."
    )

    @model_validator(mode="after")
    def _is_consistent(self) -> TranscodeSpec:
        if self.remove_video and self.remove_audio:
            raise contradiction("RemoveVideo", "remove_video and remove_audio together leave nothing")
        if MUXERS[self.container].audio_only and self.remove_audio:
            raise contradiction("Container", f"{self.container} holds audio only; remove_audio leaves nothing")
        streams = {"with_video": self.with_video, "with_audio": not self.remove_audio}
        if problem := container_problem(self.container, self.video_template, self.audio_template, **streams):
            raise contradiction("Container", problem)
        if self.video_template.codec == "copy" and self.watermark_set:
            raise ValueError("a watermark needs the video encoded; codec copy leaves it as it is")
        check_comparable(self.video_template.quality if self.with_video else None, self.watermark_set)
        if self.segment_object_name.startswith("/"):
            raise ValueError("segment_object_name is relative to the output dir and has no leading slash")
        if self.container == "hls" and self.segment_object_name and "{number}" not in self.segment_object_name:
            raise ValueError("segment_object_name is one path for all segments; put {number} into it")
        return self

    @property
    def is_media_file(self) -> bool:
        return self.container != "hls"

    def extension(self, path: str = "output_object_path") -> str:
        if path == "segment_object_name":
            return segment_pattern(self.video_template).rpartition(".")[2]
        return MUXERS[self.container].extension

    @property
    def with_video(self) -> bool:
        return not self.remove_video and not MUXERS[self.container].audio_only


def plan(spec: TranscodeSpec, media: MediaInfo, names: OutputNames) -> Plan:
    """One file, or an HLS playlist with its segments."""
    need_length(media)
    return encoding_plan(_encoding(spec, names), media)


def plan_chunks(spec: TranscodeSpec, media: MediaInfo, names: OutputNames, chunking: Chunking) -> Plan | None:
    """The same, with the picture in chunks."""
    return chunked_plan(_encoding(spec, names), media, chunking)


def _encoding(spec: TranscodeSpec, names: OutputNames) -> Encoding:
    return Encoding(
        key=names.key(spec.output_object_path or TASK.default_path, format=spec.extension()),
        container=spec.container,
        start_time_offset=spec.start_time_offset,
        end_time_offset=spec.end_time_offset,
        video=spec.video_template if spec.with_video else None,
        audio=None if spec.remove_audio else spec.audio_template,
        watermarks=spec.watermark_set,
        segments=_segments(spec, names) if spec.container == "hls" else None,
        hls_time=spec.video_template.hls_time,
    )


def _segments(spec: TranscodeSpec, names: OutputNames) -> Segments:
    pattern = segment_pattern(spec.video_template)
    numbers = spec.object_number_format
    path = spec.segment_object_name or SEGMENT_PATH
    return Segments(
        pattern=pattern, key_pattern=names.key(path, format=spec.extension("segment_object_name")),
        first=numbers.initial_value, step=numbers.increment, width=numbers.min_length, placeholder=numbers.place_holder,
        playlist=PLAYLIST, header=HEADER if spec.video_template.segment_type == 7 else None,
    )  # fmt: skip


def output(result: SubtaskResult) -> dict[str, Any]:
    """MPS's MediaTranscodeItem."""
    main = result.main[0]
    media = main.media
    return {
        "path": f"/{main.key}", "bitrate": media.bitrate_bps if media else 0, "height": main.height or 0, "width": main.width or 0,
        "size": result.size_bytes, "duration": media.duration_s if media else 0.0,
        "container": media.container if media else "", "md5": main.md5,
        "video_stream_set": [media.video] if media and media.video else [],
        "audio_stream_set": media.audio if media else [],
    }  # fmt: skip


def _check_templates(request: Any) -> Any:
    """Video is required unless it is removed or the container holds none; audio unless it is removed."""
    if not request.video_template and not request.remove_video and not MUXERS[request.container].audio_only:
        raise ValueError("VideoTemplate is required, unless RemoveVideo is 1")
    if not request.audio_template and not request.remove_audio:
        raise ValueError("AudioTemplate is required, unless RemoveAudio is 1")
    return request


def _describe(spec: TranscodeSpec) -> dict[str, Any]:
    """MPS shows the ID of a transcode template as text, unlike other kinds."""
    video = {} if spec.with_video else {"video_template": None}
    return {"definition": str(spec.definition), "container_type": _container_type(spec), "alias_name": "", **video}


def _container_type(spec: TranscodeSpec) -> str:
    return "Video" if spec.with_video else "PureAudio"


TASK = TaskType(
    name="transcode",
    spec=TranscodeSpec,
    plan=plan,
    plan_chunks=plan_chunks,
    wire="Transcode",
    default_path="{inputName}_transcode_{definition}.{format}",
    mps=MpsTask(
        "TranscodeTask", "action-trans", output, raw=True, storage="OutputStorage", progress=True,
        not_offered={"BlindWatermark": ..., "MosaicSet": [], "HeadTailParameter": None},
    ),
    template=TemplateType(
        kind="transcode", wire="Transcode", model=TranscodeSpec, limit=1000, check=_check_templates, describe=_describe,
        codes={
            "Comment": "", "VideoTemplate": "", "VideoTemplate.Codec": "VideoCodec", "VideoTemplate.Bitrate": "VideoBitrate",
            "VideoTemplate.Fps": "Fps", "VideoTemplate.Width": "Resolution", "VideoTemplate.Height": "Resolution",
            "VideoTemplate.ResolutionAdaptive": "ResolutionAdaptive", "AudioTemplate": "", "AudioTemplate.Codec": "AudioCodec",
            "AudioTemplate.Bitrate": "AudioBitrate", "AudioTemplate.SampleRate": "AudioSampleRate",
            "AudioTemplate.AudioChannel": "AudioChannel", "TranscodeType": "",
        },
        filters={
            "ContainerType": Filter(Literal["", "Video", "PureAudio"], _container_type),
            # Top Speed and enhancement are refused, so all templates are common ones.
            "TEHDType": Filter(Literal["", "Common", "TEHD"], lambda _: "Common"),
            "TranscodeType": Filter(Literal["", "Common", "TEHD", "Enhance"], lambda _: "Common"),
            "SceneType": None, "CompressType": None, "EnhanceSceneType": None, "EnhanceTranscodeType": None, "EnhanceType": None,
        },
    ),
    heavy=True,
)  # fmt: skip
