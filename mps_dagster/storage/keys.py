"""Names of buckets and objects: what is allowed, and what kind of content a name promises."""

from __future__ import annotations

import hashlib
import mimetypes
import posixpath
import re
from pathlib import PurePosixPath

from mps_dagster.errors import InvalidConfiguration

MAX_KEY_BYTES, MAX_COS_KEY_BYTES = 1024, 850
MAX_NAME_BYTES = 255
"""Of one part of a key: what folders hold, and services that keep objects in folders, such as MinIO."""
_EXTENSION_BYTES = 16
_DIGEST = 12
_LOCAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_S3 = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_COS = re.compile(r"cos://[a-z0-9]([a-z0-9-]{0,48}[a-z0-9])?-[0-9]{5,12}")
# What mimetypes lacks, or knows only where the host has a file that says so.
_TYPES = {
    "m3u8": "application/vnd.apple.mpegurl", "mpd": "application/dash+xml", "ts": "video/mp2t", "m2ts": "video/mp2t",
    "m4s": "video/iso.segment", "mp4": "video/mp4", "mov": "video/quicktime", "mkv": "video/x-matroska",
    "webm": "video/webm", "flv": "video/x-flv", "vtt": "text/vtt", "webp": "image/webp", "avif": "image/avif",
    "m4a": "audio/mp4", "aac": "audio/aac", "flac": "audio/flac", "ogg": "audio/ogg", "opus": "audio/ogg",
    "mka": "audio/x-matroska", "wav": "audio/wav", "json": "application/json",
}  # fmt: skip


def check_bucket_name(name: str) -> str:
    """Return the name; raise if it is neither a local bucket's nor `s3://bucket` nor `cos://bucket-appid`."""
    if name.startswith("cos://") and not _COS.fullmatch(name):
        raise InvalidConfiguration(
            f"{name!r} is no COS bucket", hint="its name ends with the account's APPID: cos://media-1250000000"
        )
    if not any(form.fullmatch(name) for form in (_LOCAL, _S3, _COS)):
        raise InvalidConfiguration(
            f"{name!r} is no bucket",
            hint="a local one is letters, digits, dots, dashes and underscores; or s3://bucket, cos://bucket-appid",
        )
    return name


def check_key(key: str) -> str:
    """Return the key; raise if no bucket can hold it."""
    problem = _problem(key)
    if problem:
        raise InvalidConfiguration(f"{key!r} is no object key: {problem}")
    return key


def max_key_bytes(bucket: str) -> int:
    return MAX_COS_KEY_BYTES if bucket.startswith("cos://") else MAX_KEY_BYTES


def shortened(name: str, size: int) -> str:
    """A name of at most so many bytes. Names that differ only at their ends stay different.

    It keeps its beginning, of whole characters, and its extension. As it is, if it is not longer.
    """
    if len(name.encode()) <= size:
        return name
    stem, extension = posixpath.splitext(name)
    if len(extension.encode()) > _EXTENSION_BYTES:
        stem, extension = name, ""
    end = f"-{hashlib.sha256(name.encode()).hexdigest()[:_DIGEST]}{extension}"
    return stem.encode()[: max(0, size - len(end.encode()))].decode(errors="ignore") + end


def shortened_dir(folder: str, size: int) -> str:
    """A prefix of at most so many bytes: the first of its folders, and one in place of the others."""
    if len(folder.encode()) <= size:
        return folder
    parts, end = folder.strip("/").split("/"), f"{hashlib.sha256(folder.encode()).hexdigest()[:_DIGEST]}/"
    while parts and len("/".join([*parts, end]).encode()) > size:
        parts.pop()
    return "/".join([*parts, end])


def split_address(address: str) -> tuple[str, str]:
    """`inbox/a/b.mp4` → inbox, a/b.mp4; `s3://media/a.mp4` → s3://media, a.mp4."""
    scheme, separator, rest = address.rpartition("://")
    bucket, _, key = rest.partition("/")
    if not bucket or not key:
        raise InvalidConfiguration(f"{address!r} is neither a file nor bucket/key")
    return f"{scheme}{separator}{bucket}", key


def content_type_of(key: str) -> str:
    extension = PurePosixPath(key).suffix.lower().removeprefix(".")
    return _TYPES.get(extension) or mimetypes.guess_type(f"x.{extension}")[0] or "application/octet-stream"


def _problem(key: str) -> str:
    if not key or key.startswith("/"):
        return "it is empty or begins with a slash"
    if "\0" in key:
        return "it holds a NUL"
    if any(part in ("", ".", "..") for part in key.split("/")):
        return "it holds an empty segment, . or .."
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        return "it is not UTF-8"
    return f"it is longer than {MAX_KEY_BYTES} bytes" if size > MAX_KEY_BYTES else ""
