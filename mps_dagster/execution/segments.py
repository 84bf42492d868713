"""HLS segments as one value: several are published at the same time, one listing compares them, and no event lists them."""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mps_dagster.errors import DiskFull
from mps_dagster.storage.bucket import Bucket, ObjectInfo
from mps_dagster.storage.disk import free
from mps_dagster.streaming.segments import Segments
from mps_dagster.tasks.result import SegmentSet

TS_PACKET = 188
AT_ONCE = 8
"""Parallel uploads, which with S3 mostly wait for answers. CONNECTIONS in storage/s3.py must allow for them."""
BATCH = 64
"""Segments between two checks that the path is still ours."""


def segment_files(segments: Segments, folder: Path) -> list[Path]:
    """The series in order, without its header."""
    numbered = re.sub(r"%0\dd", "*", segments.pattern)
    return sorted(folder.glob(numbered)) if "*" in numbered else [folder / numbered]


def header_files(segments: Segments, folder: Path) -> list[Path]:
    return [folder / segments.header] if segments.header else []


def check_whole(playlist: Path, segments: Segments, folder: Path) -> None:
    """Raise `DiskFull` if a file ends too early: ffmpeg writes HLS without looking at errors, and exits with 0."""
    text = playlist.read_text()
    files = [*header_files(segments, folder), *segment_files(segments, folder)]
    ranges = re.findall(r"^#EXT-X-BYTERANGE:(\d+)@(\d+)", text, re.MULTILINE)
    end = sum(map(int, ranges[-1])) if ranges else 0
    cut = [file for file in files if _is_cut(file)] or [file for file in files if file.stat().st_size < end]
    if cut or "#EXT-X-ENDLIST" not in text:
        name = cut[0].name if cut else playlist.name
        raise DiskFull(f"{name} is cut off, as by a full disk; on the disk of {folder}, {free(folder)}")


def _is_cut(file: Path) -> bool:
    size = file.stat().st_size
    if file.suffix == ".ts" and size % TS_PACKET:
        return True
    # Packed sound and texts have no such structure.
    return not size or (file.suffix in (".mp4", ".m4s") and _boxes_end(file) != size)


def _boxes_end(file: Path) -> int:
    """Where the last box of an MP4 file ends."""
    at = 0
    with file.open("rb") as opened:
        while len(header := opened.read(16)) >= 8:
            length = int.from_bytes(header[:4])
            at += length if length != 1 else int.from_bytes(header[8:])
            if length == 0:
                return file.stat().st_size
            opened.seek(at)
    return at


def publish_segments(
    names: Segments, files: list[Path], publish: Callable[[Path, str], ObjectInfo], between: Callable[[], None]
) -> SegmentSet:
    """Publish all of them; `between` is called after each batch, and an error that it raises stops the upload."""
    keyed = [(file, names.key(number)) for number, file in enumerate(files)]
    infos: list[ObjectInfo] = []
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="publish") as pool:
        for start in range(0, len(keyed), BATCH):
            infos += pool.map(lambda pair: publish(*pair), keyed[start : start + BATCH])
            between()
    return SegmentSet(
        names=names, count=len(infos), size_bytes=sum(info.size for info in infos), digest=digest_of(infos)
    )


def segments_unchanged(segments: SegmentSet, bucket: Bucket) -> bool:
    """Whether all segments are as they were published."""
    return digest_of(_listed(segments, bucket)) == segments.digest


def digest_of(infos: Iterable[ObjectInfo]) -> str:
    digest = hashlib.sha256()
    for info in sorted(infos, key=lambda info: info.key):
        digest.update(f"{info.key}\n{info.size}\n{info.etag}\n".encode())
    return digest.hexdigest()


def _listed(segments: SegmentSet, bucket: Bucket) -> Iterator[ObjectInfo]:
    """From one listing, as single requests would take minutes. Other objects may be listed between them."""
    keys = set(segments.keys)
    last = max(keys)
    for info in bucket.list(posixpath.commonprefix(list(keys))):
        if info.key > last:
            return
        if info.key in keys:
            yield info
