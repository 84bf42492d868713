"""What a player told of a stream, and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SLACK_S = 0.1
"""Ranges that a player joins by itself; audio and video end a frame apart."""


@dataclass(frozen=True)
class Level:
    """A rung of the ladder as the player read it: a variant of HLS, a representation of DASH."""

    width: int | None
    height: int | None
    bandwidth: int
    codecs: str


@dataclass(frozen=True)
class Sound:
    language: str
    label: str
    codecs: str


@dataclass(frozen=True)
class Text:
    language: str
    label: str
    codecs: str
    cues: tuple[tuple[float, float, str], ...]
    """Start, end and text of all cues that were loaded after it played to the end."""
    shown: tuple[str, ...]
    """Texts that were on the screen while it played, in their order."""


@dataclass(frozen=True)
class Switch:
    """A level that was asked for, and the height of the pictures that were drawn then."""

    level: int
    wanted: int | None
    rendered: int


@dataclass(frozen=True)
class Fill:
    """What was buffered when all segments of one level or one sound had been loaded."""

    what: str
    ranges: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Seek:
    wanted: float
    arrived: float | None
    pictured: float | None
    """Media time of the picture that was drawn; None without video."""


@dataclass(frozen=True)
class Thumbnail:
    """A tile of a sheet. dash.js does not tell its time."""

    wanted: float
    start: float | None
    duration: float | None
    x: int
    y: int
    width: int
    height: int
    url: str
    sheet: tuple[int, int]
    """Width and height of the picture that was decoded."""


@dataclass(frozen=True)
class Playback:
    player: str
    errors: tuple[str, ...]
    """All error events, also those from which the player recovered, and steps that did not come to their end."""
    refused: tuple[str, ...]
    """Requests that the server answered with an error."""
    jumps: tuple[tuple[float, float], ...]
    """From where to where the player moved by itself, as it does at a hole."""
    stopped: str
    """Why it gave up; empty if it did not."""
    duration: float
    levels: tuple[Level, ...]
    audio: tuple[Sound, ...]
    texts: tuple[Text, ...]
    switches: tuple[Switch, ...]
    fills: tuple[Fill, ...]
    seeks: tuple[Seek, ...]
    thumbnails: tuple[Thumbnail, ...]
    decoded: int
    dropped: int
    """Pictures, of one run from the start to the end."""
    heights: tuple[int, ...]
    """Of the pictures of that run, each time that they changed."""
    ended: bool

    @property
    def problems(self) -> list[str]:
        """Everything that a viewer could notice; empty if all is well."""
        return [
            *([f"{self.player} gave up: {self.stopped}"] if self.stopped else []),
            *(f"{self.player}: {error}" for error in self.errors),
            *(f"the server refused {request}" for request in self.refused),
            *(f"{self.player} jumped from {start:.2f} to {end:.2f} s" for start, end in self.jumps),
            *(gap for fill in self.fills for gap in self._gaps(fill)),
            *([] if self.ended else [f"{self.player} did not play to the end"]),
            *(
                f"asked for height {one.wanted}, got {one.rendered}"
                for one in self.switches
                if one.rendered != (one.wanted or 0)
            ),
            *(f"seek to {one.wanted:.2f} s went to {one.arrived} s" for one in self.seeks if _missed(one)),
            *(
                f"{self.player} showed nothing of the subtitles {one.label or one.language!r}"
                for one in self.texts
                if not one.shown
            ),
            *(f"the thumbnail for {one.wanted:.2f} s is {one}" for one in self.thumbnails if _off(one)),
        ]

    def _gaps(self, fill: Fill) -> list[str]:
        ends = [0.0, *(end for _, end in fill.ranges)]
        starts = [*(start for start, _ in fill.ranges), self.duration]
        holes = [pair for pair in zip(ends, starts, strict=True) if pair[1] - pair[0] > SLACK_S]
        return [f"nothing of {fill.what} is buffered from {end:.2f} to {start:.2f} s" for end, start in holes]


def _missed(seek: Seek) -> bool:
    return seek.arrived is None or not -0.05 < seek.arrived - seek.wanted < 0.5


def _off(tile: Thumbnail) -> bool:
    """Of another time, or beyond its sheet."""
    late = (
        tile.start is not None
        and tile.duration is not None
        and not tile.start <= tile.wanted < tile.start + tile.duration
    )
    return late or tile.x + tile.width > tile.sheet[0] or tile.y + tile.height > tile.sheet[1]


def playback(player: str, report: dict[str, Any], refused: list[str]) -> Playback:
    """Of what the page reports."""
    return Playback(
        player=player,
        errors=tuple(report["errors"]),
        refused=tuple(refused),
        jumps=tuple((start, end) for start, end in report["jumps"]),
        stopped=report["stopped"],
        duration=report["duration"],
        levels=tuple(Level(**one) for one in report["levels"]),
        audio=tuple(Sound(**one) for one in report["audio"]),
        texts=tuple(_text(one) for one in report["texts"]),
        switches=tuple(Switch(**one) for one in report["switches"]),
        fills=tuple(Fill(one["what"], tuple((start, end) for start, end in one["ranges"])) for one in report["fills"]),
        seeks=tuple(Seek(**one) for one in report["seeks"]),
        thumbnails=tuple(Thumbnail(**{**one, "sheet": tuple(one["sheet"])}) for one in report["thumbnails"]),
        decoded=report["decoded"],
        dropped=report["dropped"],
        heights=tuple(report["heights"]),
        ended=report["ended"],
    )


def _text(one: dict[str, Any]) -> Text:
    cues = tuple(sorted({(start, end, text) for start, end, text in one["cues"]}))
    return Text(one["language"], one["label"], one["codecs"], cues, tuple(one["shown"]))
