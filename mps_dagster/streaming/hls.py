"""HLS playlists as text (RFC 8216, and the image playlists that Roku defined): what packagers leave out or write otherwise."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import m3u8

from mps_dagster.streaming.packaging import TEXT_GROUP, Packaging, SegmentKey, Thumbnails, Track

VERSION = 7
_QUOTE = str.maketrans({'"': "'", "\n": " ", "\r": " "})
"""A quoted string holds neither."""


@dataclass(frozen=True, slots=True)
class MediaPlaylist:
    """What a master playlist needs to know of a media playlist."""

    durations_s: tuple[float, ...]
    sizes: tuple[int, ...]
    """Bytes of each segment."""

    @property
    def duration_s(self) -> float:
        return sum(self.durations_s)

    @property
    def average_bps(self) -> float:
        return 8 * sum(self.sizes) / self.duration_s if self.duration_s else 0.0

    @property
    def peak_bps(self) -> float:
        """As RFC 8216 defines it: of the runs of segments that last half to one and a half of the longest; not a lone one."""
        target, peak = max(self.durations_s, default=0.0), 0.0
        for first in range(len(self.sizes)):
            size = lasts = 0.0
            for number in range(first, len(self.sizes)):
                size, lasts = size + self.sizes[number], lasts + self.durations_s[number]
                if lasts > 1.5 * target:
                    break
                if lasts and lasts >= 0.5 * target:
                    peak = max(peak, 8 * size / lasts)
        return peak


def media_playlist(text: str, size_of: Callable[[str], int]) -> MediaPlaylist:
    """Parse a media playlist; `size_of` is the size of a file that it names."""
    segments = m3u8.loads(text).segments
    sizes = (int(item.byterange.partition("@")[0]) if item.byterange else size_of(item.uri) for item in segments)
    return MediaPlaylist(tuple(item.duration for item in segments), tuple(sizes))


def codecs_of(master: str) -> dict[str, str]:
    """The CODECS of each variant, by its playlist."""
    # ffmpeg names the playlist as it was told to.
    return {item.uri.removeprefix("file:"): item.stream_info.codecs or "" for item in m3u8.loads(master).playlists}


def channels_of(master: str) -> dict[str, str]:
    """The CHANNELS of each sound track, by its playlist."""
    return {item.uri: item.channels for item in m3u8.loads(master).media if item.channels}


@dataclass(frozen=True, slots=True)
class Measured:
    """What is known of the tracks once they are packaged, by the name of the playlist in the work folder."""

    playlists: Mapping[str, MediaPlaylist]
    """Without subtitles."""
    codecs: Mapping[str, str]
    """Of each variant, with its sound."""
    channels: Mapping[str, str]
    iframes: Mapping[str, MediaPlaylist]


def master_playlist(packaging: Packaging, measured: Measured) -> str:
    """The master, with the files' names in the work folder."""
    lines = ["#EXTM3U", f"#EXT-X-VERSION:{VERSION}", "#EXT-X-INDEPENDENT-SEGMENTS"]
    pictures = packaging.of_kind("video")
    lines += [
        _media(track, measured)
        for track in packaging.tracks
        if track.kind != "video" and (pictures or track.kind == "text")
    ]
    for track in packaging.variants:
        lines += [_variant(track, packaging, measured), track.segments.playlist]
    lines += [_iframes(track, measured) for track in pictures if track.iframes_key]
    if packaging.thumbnails and packaging.thumbnails.playlist_key:
        lines.append(_images(packaging.thumbnails))
    return "\n".join(lines) + "\n"


def image_playlist(thumbnails: Thumbnails, duration_s: float) -> str:
    """One sheet a segment (Image Media Playlist 0.4)."""
    sheet_s = thumbnails.sheet_s
    tiles = _attributes(
        "EXT-X-TILES",
        {
            "RESOLUTION": f"{thumbnails.width}x{thumbnails.height}",
            "LAYOUT": f"{thumbnails.columns}x{thumbnails.rows}",
            "DURATION": f"{thumbnails.interval_s:g}",
        },
    )
    lines = [
        "#EXTM3U", f"#EXT-X-VERSION:{VERSION}", f"#EXT-X-TARGETDURATION:{math.ceil(min(sheet_s, duration_s))}",
        "#EXT-X-PLAYLIST-TYPE:VOD", "#EXT-X-IMAGES-ONLY",
    ]  # fmt: skip
    for number in range(thumbnails.count(duration_s)):
        lasts_s = min(sheet_s, duration_s - number * sheet_s)
        lines += [f"#EXTINF:{lasts_s:.3f},", tiles, thumbnails.sheets.pattern % number]
    return "\n".join([*lines, "#EXT-X-ENDLIST"]) + "\n"


def in_one_file(text: str, places: Mapping[str, tuple[int, int]], file: str) -> str:
    """The playlist of files that were put into one; `places` is where: the first byte and the size of each."""
    lines: list[str] = []
    part: tuple[int, int] | None = None
    for line in text.splitlines():
        if line.startswith("#EXT-X-BYTERANGE:"):
            size, _, start = line.partition(":")[2].partition("@")
            part = int(start), int(size)
        elif line.startswith("#EXT-X-MAP:"):
            start_of, size_of = places[line.split('"')[1]]
            lines.append(f'#EXT-X-MAP:URI="{file}",BYTERANGE="{size_of}@{start_of}"')
        elif line and not line.startswith("#"):
            start_of, size_of = places[line]
            start_of, size_of = (start_of + part[0], part[1]) if part else (start_of, size_of)
            lines += [f"#EXT-X-BYTERANGE:{size_of}@{start_of}", file]
            part = None
        else:
            lines.append(line)
    return "\n".join(lines) + "\n"


def webvtt(text: str, clock_start_s: float) -> str:
    """Subtitles that begin where the clock of TS segments does."""
    if not clock_start_s:
        return text
    clock = f"X-TIMESTAMP-MAP=MPEGTS:{round(90_000 * clock_start_s)},LOCAL:00:00:00.000"
    return text.replace("WEBVTT", f"WEBVTT\n{clock}", 1)


def text_playlist(file: str, duration_s: float) -> str:
    """Subtitles in one file."""
    lines = [
        "#EXTM3U", f"#EXT-X-VERSION:{VERSION}", f"#EXT-X-TARGETDURATION:{math.ceil(duration_s)}", "#EXT-X-PLAYLIST-TYPE:VOD",
        f"#EXTINF:{duration_s:.3f},", file, "#EXT-X-ENDLIST",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def with_key(text: str, encryption: SegmentKey) -> str:
    """The playlist of segments that are encrypted with AES-128; a header (EXT-X-MAP) before the key stays clear."""
    iv = f"0x{encryption.iv}" if encryption.iv else ""
    key = _attributes("EXT-X-KEY", {"METHOD": "AES-128", "URI": _string(encryption.uri), "IV": iv})
    lines = text.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("#EXTINF"))
    return "\n".join([*lines[:first], key, *lines[first:]]) + "\n"


def renamed(text: str, published: Callable[[str], str]) -> str:
    """The playlist with other names for its files."""
    lines = [
        re.sub(r'(?<=URI=")[^"]*', lambda match: published(match[0]), line) if line[:1] == "#" else published(line)
        for line in text.splitlines()
    ]
    return "\n".join(lines) + "\n"


def _attributes(tag: str, values: Mapping[str, object]) -> str:
    return f"#{tag}:" + ",".join(f"{name}={value}" for name, value in values.items() if value not in (None, ""))


def _quoted(value: str) -> str:
    return value.translate(_QUOTE)


def _string(value: str) -> str:
    return f'"{_quoted(value)}"' if value else ""


def _media(track: Track, measured: Measured) -> str:
    sound = track.kind == "audio"
    values = {
        "TYPE": "AUDIO" if sound else "SUBTITLES",
        "GROUP-ID": _string(track.group if sound else TEXT_GROUP),
        "NAME": _string(track.name),
        "LANGUAGE": _string(track.language),
        "DEFAULT": "YES" if track.default else "NO",
        "AUTOSELECT": "YES",
        "CHANNELS": _string(measured.channels.get(track.segments.playlist, "")) if sound else "",
        "URI": _string(track.segments.playlist),
    }
    return _attributes("EXT-X-MEDIA", values)


def _variant(track: Track, packaging: Packaging, measured: Measured) -> str:
    own = measured.playlists[track.segments.playlist]
    group = [
        measured.playlists[other.segments.playlist]
        for other in packaging.of_kind("audio")
        if other.group == track.group
    ]
    sounds = group if track.kind == "video" and track.group else []
    shown, texts = track.rendition, packaging.of_kind("text")
    values: dict[str, object] = {
        "BANDWIDTH": _bps([own], sounds, "peak_bps"),
        "AVERAGE-BANDWIDTH": _bps([own], sounds, "average_bps"),
        "CODECS": _string(measured.codecs.get(track.segments.playlist, "")),
    }
    if shown:
        values |= {
            "RESOLUTION": f"{shown.width}x{shown.height}",
            "FRAME-RATE": f"{shown.frame_rate:.3f}",
            "VIDEO-RANGE": shown.video_range,
            "AUDIO": _string(track.group),
        }
    values |= {"SUBTITLES": _string(TEXT_GROUP) if texts else "", "CLOSED-CAPTIONS": "NONE" if shown else ""}
    return _attributes("EXT-X-STREAM-INF", values)


def _bps(own: list[MediaPlaylist], sounds: list[MediaPlaylist], rate: str) -> int:
    """Bits per second of a picture with the largest of its sounds."""
    return round(sum(max((float(getattr(item, rate)) for item in items), default=0.0) for items in (own, sounds)))


def _iframes(track: Track, measured: Measured) -> str:
    rates, shown = measured.iframes[track.segments.playlist], track.rendition
    codec = measured.codecs.get(track.segments.playlist, "").partition(",")[0]
    values = {
        "BANDWIDTH": _bps([rates], [], "peak_bps"),
        "AVERAGE-BANDWIDTH": _bps([rates], [], "average_bps"),
        "CODECS": _string(codec),
        "RESOLUTION": f"{shown.width}x{shown.height}" if shown else "",
        "VIDEO-RANGE": shown.video_range if shown else "",
        "URI": _string(track.iframes),
    }
    return _attributes("EXT-X-I-FRAME-STREAM-INF", values)


def _images(thumbnails: Thumbnails) -> str:
    values = {
        "BANDWIDTH": thumbnails.bandwidth_bps,
        "RESOLUTION": f"{thumbnails.width}x{thumbnails.height}",
        "CODECS": _string("jpeg"),
        "URI": _string(thumbnails.sheets.playlist),
    }
    return _attributes("EXT-X-IMAGE-STREAM-INF", values)
