"""A project's files, packed for hosts that do not have them. The revision is a hash of them: a run gets those of its launch."""

from __future__ import annotations

import hashlib
import io
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from mps_dagster.errors import InvalidConfiguration, SourceNotAccessible
from mps_dagster.settings import Settings
from mps_dagster.storage.bucket import Bucket
from mps_dagster.workflow.model import RECORDS_DIR

PREFIX = f"{RECORDS_DIR}projects/"
MAX_BYTES = 256 * 2**20


def ship(settings: Settings, bucket: Bucket) -> str:
    """Leave the project's files in the bucket, if they are not there; return their revision."""
    files = list(_files(settings))
    revision = _revision(files)
    try:
        bucket.head(_key(revision))
    except SourceNotAccessible:
        bucket.write(_key(revision), _packed(files), content_type="application/gzip")
    return revision


def shipped(revision: str, bucket: Bucket, folder: Path) -> Path:
    """A copy of the files of a revision in the folder, fetched at first need; safe for several processes at once."""
    copy = folder / revision
    if copy.is_dir():
        return copy
    folder.mkdir(parents=True, exist_ok=True)
    content = bucket.read(_key(revision))
    draft = Path(tempfile.mkdtemp(dir=folder, prefix=".draft-"))
    try:
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            archive.extractall(draft, filter="data")
        # Another process may have been faster.
        with suppress(OSError):
            draft.rename(copy)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return copy


def revision_of(settings: Settings) -> str:
    """The revision that this process has the files of, in a run of a cluster."""
    return settings.project.name


def remove_shipped(settings: Settings, bucket: Bucket, before_s: float) -> int:
    """Remove revisions shipped before that, except for the current one; a run ships its own at each launch. Return how many."""
    current = _key(_revision(list(_files(settings))))
    old = [info.key for info in bucket.list(PREFIX) if info.modified.timestamp() < before_s and info.key != current]
    for key in old:
        bucket.delete(key)
    return len(old)


def _key(revision: str) -> str:
    return f"{PREFIX}{revision}.tar.gz"


def _files(settings: Settings) -> Iterator[tuple[str, bytes]]:
    """Workflows, templates, and the pictures beside these. Hidden files are not read by runs."""
    total = 0
    for folder in (settings.workflows_dir, settings.templates_dir):
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(settings.project)
            # Removed meanwhile.
            with suppress(FileNotFoundError):
                if path.is_file() and not any(part.startswith(".") for part in name.parts):
                    total += path.stat().st_size
                    if total > MAX_BYTES:
                        raise InvalidConfiguration(
                            f"the files in {settings.workflows_dir} and {settings.templates_dir} have more than {MAX_BYTES} bytes",
                            hint="only workflows, templates and watermarks belong there",
                        )
                    yield str(name), path.read_bytes()


def _revision(files: list[tuple[str, bytes]]) -> str:
    digest = hashlib.sha256()
    for name, content in files:
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:32]


def _packed(files: list[tuple[str, bytes]]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in files:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()
