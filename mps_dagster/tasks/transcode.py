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

from typing import Literal

from pydantic import Field, model_validator

from mps_dagster.ffmpeg.codecs import MUXERS, Container
from mps_dagster.ffmpeg.encode import AudioTemplate, VideoTemplate, check_container
from mps_dagster.ffmpeg.encoding import HEADER, PLAYLIST, Encoding, encoding_plan, segment_pattern
from mps_dagster.ffmpeg.overlay import Watermark
from mps_dagster.ffmpeg.plan import Plan, Segments
from mps_dagster.media.info import MediaInfo
from mps_dagster.tasks.spec import OutputNames, Spec, TaskType, need_length


class TranscodeSpec(Spec):
    """Reference A.4 (TranscodeTaskInput) and A.5 (RawTranscodeParameter)."""

    container: Container = "mp4"
    remove_video: Literal[0, 1] = 0
    remove_audio: Literal[0, 1] = 0
    video_template: VideoTemplate = VideoTemplate()
    audio_template: AudioTemplate = AudioTemplate()
    watermark_set: tuple[Watermark, ...] = Field((), max_length=10)
    start_time_offset: float = Field(0.0, description="Seconds; negative counts from the end.")
    end_time_offset: float = Field(0.0, description="Seconds; 0 = to the end.")
    segment_object_name: str = Field("", description="Path of HLS segments, relative to the output dir.")

    @model_validator(mode="after")
    def _can_be_made(self) -> TranscodeSpec:
        if self.remove_video and self.remove_audio:
            raise ValueError("remove_video and remove_audio together leave nothing")
        if MUXERS[self.container].audio_only and self.remove_audio:
            raise ValueError(f"{self.container} holds audio only; remove_audio leaves nothing")
        check_container(
            self.container, self.video_template, self.audio_template,
            with_video=self.with_video, with_audio=not self.remove_audio,
        )  # fmt: skip
        if self.video_template.codec == "copy" and self.watermark_set:
            raise ValueError("a watermark needs the video encoded; codec copy leaves it as it is")
        if self.segment_object_name.startswith("/"):
            raise ValueError("segment_object_name is relative to the output dir and has no leading slash")
        if self.container == "hls" and self.segment_object_name and "{number}" not in self.segment_object_name:
            raise ValueError("segment_object_name is one path for all segments; put {number} into it")
        return self

    @property
    def with_video(self) -> bool:
        return not self.remove_video and not MUXERS[self.container].audio_only


def plan(spec: TranscodeSpec, media: MediaInfo, names: OutputNames) -> Plan:
    """One file, or an HLS playlist with its segments."""
    need_length(media)
    wanted = Encoding(
        key=names.key(spec.output_object_path or TASK.default_path, format=MUXERS[spec.container].extension),
        container=spec.container,
        start_time_offset=spec.start_time_offset,
        end_time_offset=spec.end_time_offset,
        video=spec.video_template if spec.with_video else None,
        audio=None if spec.remove_audio else spec.audio_template,
        watermarks=spec.watermark_set,
        segments=_segments(spec, names) if spec.container == "hls" else None,
        hls_time=spec.video_template.hls_time,
    )
    return encoding_plan(wanted, media)


def _segments(spec: TranscodeSpec, names: OutputNames) -> Segments:
    pattern = segment_pattern(spec.video_template)
    numbers = spec.object_number_format
    path = spec.segment_object_name or "{inputName}_transcode_{definition}_{number}.{format}"
    return Segments(
        pattern=pattern, key_pattern=names.key(path, format=pattern.rpartition(".")[2]),
        first=numbers.initial_value, step=numbers.increment, width=numbers.min_length, placeholder=numbers.place_holder,
        playlist=PLAYLIST, header=HEADER if spec.video_template.segment_type == 7 else None,
    )  # fmt: skip


TASK = TaskType(
    name="transcode",
    spec=TranscodeSpec,
    plan=plan,
    wire="Transcode",
    default_path="{inputName}_transcode_{definition}.{format}",
    heavy=True,
)
