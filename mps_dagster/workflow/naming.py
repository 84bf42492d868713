"""Names by which Dagster knows an upload and a workflow's parts: shared by the sensor and by a launch by hand."""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePath
from urllib.parse import unquote

from mps_dagster.storage.bucket import ObjectInfo

_REFUSED = re.compile(r"%|[\x00-\x1f\x7f]|(?<=\.\.)\.")
"""What Dagster refuses in a partition key (control characters, three dots in a row), and the escape itself."""


def partition_key(object_key: str) -> str:
    """The object key, with only what Dagster refuses percent-encoded."""
    return _REFUSED.sub(lambda found: f"%{ord(found[0]):02X}", object_key)


def object_key(partition: str) -> str:
    return unquote(partition)


def run_key(bucket: str, upload: ObjectInfo) -> str:
    """What makes an upload one upload: place, content and time. `upload` as `head` tells it: a listing may tell another time."""
    # In whole seconds, as HTTP has it. A folder's etag has the time in it; what it says of changes is also of rights and links.
    time = int(upload.modified.timestamp()) if "://" in bucket else 0
    place = f"{bucket}\n{upload.key}\n{upload.etag}\n{time}"
    return hashlib.sha256(place.encode("utf-8", "surrogateescape")).hexdigest()[:40]


def sensor_name(workflow: str) -> str:
    return f"{workflow}_uploads"


def bad_file_name(path: PurePath) -> str:
    """The sensor that tells what is wrong with a file; with a hash where Dagster does not take the file's own name."""
    name = f"{path.parent.name}_{path.stem}"
    plain = re.sub(r"[^A-Za-z0-9_]", "_", name)
    if plain != name:
        plain += f"_{hashlib.sha256(name.encode('utf-8', 'surrogateescape')).hexdigest()[:6]}"
    return f"{plain}_is_not_valid"


def by_hand_name(schedule: str) -> str:
    """The job that runs a schedule on an object of any bucket."""
    return f"{schedule}_by_hand"


def uploads_name(workflow: str) -> str:
    """The partition set of a workflow's sources."""
    return f"{workflow}_uploads"


def requested_name(workflow: str) -> str:
    """Name of the partition set that remembers which (key, etag) got a run; it outlives the runs."""
    return f"{workflow}_requested"
