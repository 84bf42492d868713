"""Packages the tracks of an adaptive set in the work folder: segments, playlists, and the manifests in front of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from mps_dagster.errors import OutputRejected
from mps_dagster.execution.segments import segment_files
from mps_dagster.ffmpeg.packager import package
from mps_dagster.ffmpeg.process import Completed
from mps_dagster.ffmpeg.program import Ffmpeg
from mps_dagster.streaming import hls
from mps_dagster.streaming.encryption import encrypted
from mps_dagster.streaming.packaging import MASTER, Packaging, SegmentKey, Track, packager_arguments


def packaged(packaging: Packaging, folder: Path, ffmpeg: Ffmpeg) -> tuple[tuple[str, ...], Completed] | None:
    """Write all playlists and manifests, with the files' names in the work folder; return the packager's process, if any."""
    ran = None
    if not packaging.muxed:
        arguments = packager_arguments(packaging)
        ran = (arguments, package(arguments, cwd=folder, limits=ffmpeg.limits))
        for track in packaging.media:
            if track.in_one_file and not packaging.single_files:
                _join(track, folder)
    if packaging.encryption:
        for track in packaging.media:
            _encrypt(track, packaging.encryption, folder)
    measured = _measured(packaging, folder)
    # Shaka Player stops where the shortest playlist ends, whatever it is of.
    duration_s = max(playlist.duration_s for playlist in measured.playlists.values())
    for track in packaging.of_kind("text"):
        _write_text(track, packaging.clock_start_s, duration_s, folder)
    if packaging.thumbnails:
        text = hls.image_playlist(packaging.thumbnails, duration_s)
        (folder / packaging.thumbnails.sheets.playlist).write_text(text)
    (folder / MASTER).write_text(hls.master_playlist(packaging, measured))
    return ran


def _write_text(track: Track, clock_start_s: float, duration_s: float, folder: Path) -> None:
    text = hls.webvtt((folder / track.file).read_text(), clock_start_s)
    (folder / track.segments.pattern).write_text(text)
    playlist = hls.text_playlist(track.segments.pattern, duration_s)
    (folder / track.segments.playlist).write_text(playlist)


def _encrypt(track: Track, encryption: SegmentKey, folder: Path) -> None:
    for number, file in enumerate(segment_files(track.segments, folder)):
        file.write_bytes(encrypted(file.read_bytes(), encryption, number))
    name = track.segments.playlist
    (folder / name).write_text(hls.with_key(_text(name, folder), encryption))


def _join(track: Track, folder: Path) -> None:
    """Put a track's files into one, as HLS names parts of a file by byte ranges."""
    target, at, places = folder / track.segments.pattern, 0, dict[str, tuple[int, int]]()
    files = segment_files(track.segments.model_copy(update={"pattern": track.numbered}), folder)
    with target.open("wb") as whole:
        for file in [*([folder / track.header] if track.files == "mp4" else []), *files]:
            places[file.name] = at, file.stat().st_size
            at += file.stat().st_size
            with file.open("rb") as opened:
                shutil.copyfileobj(opened, whole)
            file.unlink()
    for name in (track.segments.playlist, *((track.iframes,) if track.iframes_key else ())):
        playlist = folder / name
        playlist.write_text(hls.in_one_file(playlist.read_text(), places, target.name))


def _measured(packaging: Packaging, folder: Path) -> hls.Measured:
    masters = [track.master for track in packaging.media] if packaging.muxed else [MASTER]
    texts = [(folder / name).read_text() for name in masters if (folder / name).is_file()]
    return hls.Measured(
        playlists={track.segments.playlist: _read(track.segments.playlist, folder) for track in packaging.media},
        codecs=_merged(texts, hls.codecs_of),
        channels=_merged(texts, hls.channels_of),
        iframes={
            track.segments.playlist: _read(track.iframes, folder) for track in packaging.media if track.iframes_key
        },
    )


def _read(name: str, folder: Path) -> hls.MediaPlaylist:
    """A media playlist of the work folder."""
    return hls.media_playlist(_text(name, folder), lambda file: (folder / file).stat().st_size)


def _text(name: str, folder: Path) -> str:
    """Of a playlist that the packager has written."""
    if not (folder / name).is_file():
        raise OutputRejected(f"the packager reported success but made no {name}")
    return (folder / name).read_text()


def _merged(texts: list[str], read: Callable[[str], dict[str, str]]) -> dict[str, str]:
    return {name: value for text in texts for name, value in read(text).items()}
