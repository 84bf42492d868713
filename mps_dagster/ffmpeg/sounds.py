"""The sound tracks of an adaptive set: the source's own and added ones, each encoded once however many renditions have it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import ffmpeg

from mps_dagster.ffmpeg.added import SOUND_FORMATS, AddOnAudio
from mps_dagster.ffmpeg.codecs import STREAM
from mps_dagster.ffmpeg.encode import AudioTemplate, audio_options, select_audio
from mps_dagster.ffmpeg.encoding import SYNC_AUDIO, Encoding, encoding_plan
from mps_dagster.ffmpeg.picture import arguments, seconds
from mps_dagster.ffmpeg.plan import Expected, OutputFile, Part, Plan, StoredFile
from mps_dagster.media.info import AudioStream, MediaInfo
from mps_dagster.media.timerange import Span
from mps_dagster.streaming.packaging import AUDIO_GROUP, PART_FILE


@dataclass(frozen=True, slots=True)
class Sound:
    """One track in one setting."""

    template: AudioTemplate
    group: str
    part: str
    stream: AudioStream | None
    """None if it is added."""
    added: AddOnAudio | None = None

    @property
    def language(self) -> str:
        return self.added.audio_language if self.added else self.stream.language if self.stream else ""

    @property
    def name(self) -> str:
        own = self.added.audio_name if self.added else ""
        return own or self.language or self.part.replace("_", " ").capitalize()

    @property
    def default(self) -> bool:
        return self.added.default_track if self.added else bool(self.stream and self.stream.default)


def sounds_of(
    templates: Iterable[AudioTemplate], media: MediaInfo, added: tuple[AddOnAudio, ...], *, one: bool
) -> tuple[Sound, ...]:
    """Each track in each setting, the source's and those that are added; `one` = the default track only."""
    settings, sounds = tuple(dict.fromkeys(templates)), list[Sound]()
    for number, template in enumerate(settings):
        group = AUDIO_GROUP if len(settings) == 1 else f"{AUDIO_GROUP}_{number}"
        streams = select_audio(template, media, STREAM if one else "mp4")
        sounds += [Sound(template, group, f"sound_{number}_{stream.index}", stream) for stream in streams]
        sounds += [
            Sound(template, group, f"sound_{number}_added_{place}", None, own) for place, own in enumerate(added)
        ]
    return tuple(sounds)


def sound_parts(sounds: Iterable[Sound], media: MediaInfo, covers: Span, *, edit_list: bool) -> Iterator[Part]:
    """A part for each; all play from start to end of the span."""
    for sound in sounds:
        if sound.added:
            yield Part(name=sound.part, plan=_added_sound(sound.template, sound.added, covers))
        elif sound.stream:
            template = sound.template.model_copy(update={"stream_selects": (media.audio.index(sound.stream),)})
            encoding = Encoding(
                key=PART_FILE, container=STREAM, video=None, audio=template, covers=covers, edit_list=edit_list
            )
            yield Part(name=sound.part, plan=encoding_plan(encoding, media))


def _added_sound(template: AudioTemplate, added: AddOnAudio, covers: Span) -> Plan:
    """The first track of an added file, cut or filled up with silence to the length of the set."""
    lasts_s = covers.whole.duration_s
    track = ffmpeg.input("file:added", protocol_whitelist="file,pipe", format_whitelist=SOUND_FORMATS)["a:0"]
    filters = f"{SYNC_AUDIO}:first_pts=0,apad=whole_dur={seconds(lasts_s)},atrim=end={seconds(lasts_s)}"
    options = {**audio_options(template, (), STREAM), "filter:a:0": filters, "f": "mp4", "map_metadata": -1}
    expected = Expected(kind="audio", duration_s=lasts_s, tolerance_s=0.5, audio=True)
    return Plan(
        commands=(arguments(ffmpeg.output(track, f"file:{PART_FILE}", **options)),),
        outputs=(OutputFile(file=PART_FILE, key=PART_FILE, expected=expected),),
        duration_s=lasts_s,
        attachments=(StoredFile(file="added", address=added.input_info, etag=added.etag),),
    )
