"""`Packaging`: the tracks of an adaptive set as plain data, and the packager's arguments.

A rendition of the picture, a sound track or subtitles each become a track: a media playlist with its segments. In the work
folder the files of track 2 are `s2.m3u8`, `s2_init.mp4`, `s2_00001.m4s` …; no argument contains a user's text.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Literal

from mps_dagster.frozen import Facts
from mps_dagster.streaming.segments import Segments, header_key

MASTER, MPD = "master.m3u8", "manifest.mpd"
PART_FILE = "out.mp4"
"""The file of a part that makes one stream."""
AUDIO_GROUP, TEXT_GROUP = "audio", "text"
TS_START_S, PACKAGER_TS_START_S = 1.0, 0.1
"""Where the clock of TS segments begins, so that no time stamp is negative: of ours, which are muxed, and of the packager's."""

Files = Literal["ts", "mp4", "packed", "vtt"]
"""What the segments of a track are."""


class Rendition(Facts):
    """What the master playlist tells of a picture."""

    width: int
    height: int
    frame_rate: float
    video_range: Literal["SDR", "PQ", "HLG"] = "SDR"


class Track(Facts):
    """One media playlist with its segments."""

    kind: Literal["video", "audio", "text"]
    files: Files
    file: str
    """The encoded stream in the work folder."""
    sound_file: str = ""
    """That of the sound which is muxed in."""
    segments: Segments
    playlist_key: str
    iframes_key: str = ""
    """Key of its I-frame playlist; empty = it has none."""
    rendition: Rendition | None = None
    """Of a picture."""
    group: str = ""
    """Of sound: its own group. Of a picture: the group of its sound; empty = muxed in, or none."""
    name: str = ""
    """What a player's menu shows, for sound and subtitles."""
    language: str = ""
    """ISO 639, two or three letters; empty = not known."""
    default: bool = False

    @property
    def number(self) -> str:
        """Its name in the work folder: `s2`."""
        return self.segments.playlist.partition(".")[0]

    def by_size(self) -> int:
        """For sorting renditions."""
        return self.rendition.width * self.rendition.height if self.rendition else 0

    @property
    def part(self) -> str:
        """The part that it was made by."""
        return self.file.partition("/")[0]

    @property
    def numbered(self) -> str:
        """printf pattern of the packager's segments."""
        extension = self.segments.pattern.rpartition(".")[2]
        return f"{self.number}_%05d.{'m4s' if extension == 'mp4' else extension}"

    @property
    def header(self) -> str:
        """The fMP4 header that the packager writes."""
        return f"{self.number}_init.mp4"

    @property
    def master(self) -> str:
        """The master playlist of a muxed rendition alone, which ffmpeg writes: it tells the codecs."""
        return f"{self.number}_master.m3u8"

    @property
    def iframes(self) -> str:
        """Its I-frame playlist."""
        return f"{self.number}_iframes.m3u8"

    @property
    def in_one_file(self) -> bool:
        return "%" not in self.segments.pattern


class Thumbnails(Facts):
    """Sheets of small pictures at even steps, for the seek bar."""

    sheets: Segments
    """How the sheets are named; their playlist is an image playlist."""
    columns: int
    rows: int
    width: int
    """Pixels of one small picture."""
    height: int
    interval_s: float
    playlist_key: str

    @property
    def sheet_s(self) -> float:
        return self.columns * self.rows * self.interval_s

    def count(self, duration_s: float) -> int:
        """Of sheets."""
        return max(1, math.ceil(duration_s / self.sheet_s - 1e-9))

    @property
    def bandwidth_bps(self) -> int:
        """About: a quarter of a byte per pixel, as JPEG has at our quality."""
        return round(8 * self.width * self.height / 4 / self.interval_s)


class SegmentKey(Facts):
    """AES-128 of whole segments, as HLS has it (RFC 8216, 4.3.2.4)."""

    uri: str
    """Where players get the key."""
    key: str
    """32 hexadecimal digits."""
    iv: str = ""
    """The same; empty = the number of the segment."""


class Packaging(Facts):
    """A set of tracks, and the manifests of it."""

    segment_s: float
    duration_s: float
    tracks: tuple[Track, ...]
    muxed: bool = False
    """Whether the plan's own commands have made the playlists and segments, with sound and picture in one."""
    thumbnails: Thumbnails | None = None
    encryption: SegmentKey | None = None
    least_gain: float = 0.0
    """By how much a rendition scores above the next smaller one, at least; 0 = all are kept."""
    manifests: tuple[Literal["HLS", "MPEG-DASH"], ...] = ("HLS",)

    def of_kind(self, kind: str) -> tuple[Track, ...]:
        return tuple(track for track in self.tracks if track.kind == kind)

    def fitted(self, scores: Mapping[str, float]) -> Packaging:
        """Without the renditions that are hardly better than the next smaller one; `scores` is by part."""
        if not self.least_gain:
            return self
        left_out, best = set[str](), -math.inf
        for track in sorted(self.of_kind("video"), key=Track.by_size):
            if scores[track.part] < best + self.least_gain:
                left_out.add(track.number)
            else:
                best = scores[track.part]
        return self.model_copy(update={"tracks": tuple(one for one in self.tracks if one.number not in left_out)})

    @property
    def clock_start_s(self) -> float:
        """Where the clock of the segments begins."""
        if not any(track.files == "ts" for track in self.media):
            return 0.0
        return TS_START_S if self.muxed else PACKAGER_TS_START_S

    @property
    def media(self) -> tuple[Track, ...]:
        """Without subtitles, which are one file each and need no packager."""
        return tuple(track for track in self.tracks if track.kind != "text")

    @property
    def single_files(self) -> bool:
        """Whether the packager writes one file a track. Others it cannot, and they are put together from segments."""
        return all(track.in_one_file and track.files == "mp4" for track in self.media)

    @property
    def keys(self) -> Iterator[str]:
        """The keys of all files besides the manifests; of numbered ones the first."""
        hls = "HLS" in self.manifests
        for track in self.tracks:
            yield track.segments.key(0)
            if track.segments.header:
                yield header_key(track.playlist_key)
            if hls:
                yield track.playlist_key
            if hls and track.iframes_key:
                yield track.iframes_key
        if self.thumbnails:
            yield self.thumbnails.sheets.key(0)
            if hls:
                yield self.thumbnails.playlist_key

    @property
    def variants(self) -> tuple[Track, ...]:
        """The tracks between which a player switches by bandwidth."""
        return self.of_kind("video") or self.of_kind("audio")

    @property
    def largest(self) -> Track:
        """The variant that shows what is in the set."""
        return max(self.variants, key=Track.by_size)


def packager_arguments(packaging: Packaging) -> tuple[str, ...]:
    """Shaka Packager's: one descriptor a track, then the manifests."""
    segment = f"{packaging.segment_s:.6f}"
    manifests = ["--hls_master_playlist_output", MASTER]
    if {"mp4", "packed"} <= {track.files for track in packaging.tracks}:
        # TS and packed sound begin at 0.1 s otherwise, as their time stamps cannot be negative; MP4 does not.
        manifests += ["--transport_stream_timestamp_offset_ms", "0"]
    if "MPEG-DASH" in packaging.manifests:
        manifests += ["--mpd_output", MPD]
        if not packaging.single_files:
            manifests.append("--generate_static_live_mpd")
    return (
        *(",".join(_descriptor(track, single_file=packaging.single_files)) for track in packaging.media),
        "--segment_duration", segment, "--fragment_duration", segment, "--hls_playlist_type", "VOD",
        # Otherwise the segments of sound, which are some milliseconds longer, would decide for all.
        "--per_playlist_target_duration",
        # It would use /tmp.
        "--temp_dir", ".",
        *manifests,
    )  # fmt: skip


def _descriptor(track: Track, *, single_file: bool) -> Iterator[str]:
    yield f"in={track.file}"
    yield f"stream={track.kind}"
    if single_file:
        yield f"output={track.segments.pattern}"
    else:
        # The packager counts from 1.
        yield f"segment_template={track.numbered.replace('%05d', '$Number%05d$')}"
        if track.files == "mp4":
            yield f"init_segment={track.header}"
    yield f"playlist_name={track.segments.playlist}"
    if track.kind != "video":
        yield f"hls_group_id={track.group}"
        yield f"hls_name={track.number}"
    if track.language:
        yield f"language={track.language}"
    if track.iframes_key:
        yield f"iframe_playlist_name={track.iframes}"
