"""Publishes single files, and the tracks of an adaptive set with their playlists; each is marked with its record's key."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from mps_dagster.execution.claims import Claim
from mps_dagster.execution.segments import publish_segments, segment_files
from mps_dagster.execution.verify import Produced
from mps_dagster.ffmpeg.plan import Plan
from mps_dagster.storage.bucket import Bucket, ObjectInfo
from mps_dagster.streaming import dash, hls
from mps_dagster.streaming.packaging import MASTER, Packaging
from mps_dagster.streaming.segments import Segments, header_key
from mps_dagster.tasks.result import OutputObject, SegmentSet


@dataclass(frozen=True)
class Publisher:
    """Publishes outputs, each marked with the key of its record."""

    bucket: Bucket
    record: str
    keys: list[str] = field(default_factory=list)
    """What has been published."""

    def withdraw(self) -> None:
        for key in self.keys:
            self.bucket.delete(key)

    def media(self, file: Produced) -> OutputObject:
        published = self.file(file.path, file.key, "main")
        return published.model_copy(update={"width": file.width, "height": file.height, "media": file.media})

    def object(self, path: Path, key: str) -> ObjectInfo:
        info = self.bucket.publish(path, key, record=self.record)
        self.keys.append(key)
        return info

    def file(self, path: Path, key: str, role: Literal["main", "segment", "index"]) -> OutputObject:
        info = self.object(path, key)
        with path.open("rb") as file:
            md5 = hashlib.file_digest(file, "md5").hexdigest()
        return OutputObject(key=key, role=role, size_bytes=info.size, etag=info.etag, md5=md5)

    def text(self, key: str, text: str) -> OutputObject:
        content = text.encode()
        info = self.bucket.write(key, content, record=self.record)
        self.keys.append(key)
        md5 = hashlib.md5(content).hexdigest()  # noqa: S324  (MPS reports md5; nothing is protected by it)
        return OutputObject(key=key, role="index", size_bytes=info.size, etag=info.etag, md5=md5)


def publish_tracks(
    plan: Plan, manifests: Sequence[Produced], publisher: Publisher, claim: Claim
) -> tuple[tuple[SegmentSet, ...], tuple[OutputObject, ...]]:
    """Publish all that the manifests name, segments first, and write the published names into playlists and manifests."""
    packaging = plan.packaging
    if packaging is None:
        return (), ()
    folder, names = manifests[0].path.parent, _headers(packaging)
    series = [publish_series(segments, folder, publisher, claim) for segments in _numbered_files(packaging)]
    headers = [publisher.file(folder / file, key, "segment") for file, key in names.items()]
    for _, keys in series:
        names |= keys
    playlists = _playlists(packaging) if "HLS" in packaging.manifests else {}
    for file, key in playlists.items():
        rewrite(folder / file, names, key)
    indexes = [publisher.file(folder / file, key, "index") for file, key in playlists.items()]
    for manifest in manifests:
        if manifest.path.name == MASTER:
            rewrite(manifest.path, playlists, manifest.key)
        else:
            text = dash.manifest(manifest.path.read_text(), packaging, _relative_to(manifest.key))
            manifest.path.write_text(text)
    return tuple(segments for segments, _ in series), (*headers, *indexes)


def publish_series(
    segments: Segments, folder: Path, publisher: Publisher, claim: Claim
) -> tuple[SegmentSet, dict[str, str]]:
    """Publish a playlist's numbered files; also the key of each by its name in the work folder."""
    files = segment_files(segments, folder)
    keys = {str(file.relative_to(folder)): segments.key(number) for number, file in enumerate(files)}
    return publish_segments(segments, files, publisher.object, claim.check), keys


def rewrite(playlist: Path, keys: Mapping[str, str], playlist_key: str) -> None:
    """Write the published names into the playlist, relative to it and escaped as URIs."""
    relative = _relative_to(playlist_key)
    text = hls.renamed(playlist.read_text(), lambda name: relative(keys[name]) if name in keys else name)
    playlist.write_text(text)


def _relative_to(key: str) -> Callable[[str], str]:
    folder = posixpath.dirname(key) or "."
    return lambda other: quote(posixpath.relpath(other, folder))


def _numbered_files(packaging: Packaging) -> list[Segments]:
    thumbnails = [packaging.thumbnails.sheets] if packaging.thumbnails else []
    return [*(track.segments for track in packaging.tracks), *thumbnails]


def _headers(packaging: Packaging) -> dict[str, str]:
    """fMP4 headers: the key of each by its name in the work folder."""
    tracks = (track for track in packaging.tracks if track.segments.header)
    return {str(track.segments.header): header_key(track.playlist_key) for track in tracks}


def _playlists(packaging: Packaging) -> dict[str, str]:
    """All playlists below the master: the key of each by its name in the work folder."""
    playlists = {track.segments.playlist: track.playlist_key for track in packaging.tracks}
    playlists |= {track.iframes: track.iframes_key for track in packaging.tracks if track.iframes_key}
    if packaging.thumbnails:
        playlists[packaging.thumbnails.sheets.playlist] = packaging.thumbnails.playlist_key
    return playlists
