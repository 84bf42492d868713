"""Subtitles and sound that are added to a source, each an object of its own (reference A.7)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

import ffmpeg
from pydantic import Field

from mps_dagster.ffmpeg.picture import arguments, seconds, source
from mps_dagster.frozen import Facts
from mps_dagster.media.info import MediaInfo, SubtitleStream

SOUND_FORMATS = "aac,ac3,eac3,flac,mp3,mov,ogg,wav,matroska,webm"
TEXT_FORMATS = "srt,webvtt,ass,subviewer,microdvd"
"""Demuxers for them; a playlist is none of them."""
ADDED = {"add_on_subtitles": "subtitle", "add_on_audios": "input_info"}
"""Parameters whose entries name an object to add, and by which member."""

Address = Annotated[str, Field(pattern=r"^[^/].*/.+$", description="`bucket/key`.")]
Title = Annotated[str, Field(max_length=64, description="What a player's menu shows; empty = the language.")]
Language = Annotated[str, Field(pattern=r"^([A-Za-z]{2,3})?$", description="ISO 639: `en`, `eng`.")]
DefaultTrack = Annotated[bool, Field(description="Whether players begin with it.")]
Etag = Annotated[str, Field(description="Of the object; filled in when a run looks at it.")]


class AddOnSubtitle(Facts):
    """Subtitles that viewers can switch on."""

    type: Literal["subtitle-stream"] = Field("subtitle-stream", description="A track of their own.")
    subtitle: Address
    subtitle_name: Title = ""
    subtitle_language: Language = ""
    output_format: Literal["WebVTT"] = Field("WebVTT", description="What they are written as.")
    default_track: DefaultTrack = False
    etag: Etag = ""


class AddOnAudio(Facts):
    """Further sound."""

    input_info: Address
    audio_name: Title = ""
    audio_language: Language = ""
    default_track: DefaultTrack = False
    etag: Etag = ""


@dataclass(frozen=True, slots=True)
class Subtitles:
    """One track of subtitles, the source's own or added."""

    file: str
    """In the work folder, as it came; converted, with `.vtt`."""
    language: str
    name: str
    stream: SubtitleStream | None = None
    added: AddOnSubtitle | None = None

    @property
    def default(self) -> bool:
        """The source's own are never: viewers switch them on."""
        return bool(self.added and self.added.default_track)

    def as_webvtt(self, media: MediaInfo, start_s: float) -> tuple[str, ...]:
        """The command that converts them; `start_s` is where the set begins in the source."""
        if self.stream:
            shift = {"itsoffset": seconds(-start_s)} if start_s else {}
            text = source(media, **shift)[str(self.stream.index)]
        else:
            text = ffmpeg.input(f"file:{self.file}", protocol_whitelist="file,pipe", format_whitelist=TEXT_FORMATS)[
                "s:0"
            ]
        return arguments(ffmpeg.output(text, f"file:{self.file}.vtt", f="webvtt"))


def subtitles_of(own: Iterable[SubtitleStream], added: Iterable[AddOnSubtitle]) -> tuple[Subtitles, ...]:
    """The source's, then those that are added."""
    tracks: list[Subtitles] = []
    for stream in own:
        name = stream.title or stream.language or f"Subtitles {len(tracks) + 1}"
        tracks.append(Subtitles(f"subtitles_{len(tracks)}", stream.language, name, stream=stream))
    for one in added:
        language = one.subtitle_language
        name = one.subtitle_name or language or f"Subtitles {len(tracks) + 1}"
        tracks.append(Subtitles(f"subtitles_{len(tracks)}", language, name, added=one))
    return tuple(tracks)
