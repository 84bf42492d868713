"""Watermark pictures, added subtitles and sound: looked at when subtasks are planned, fetched when they run."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from mps_dagster.errors import (
    AttachmentChanged,
    InvalidConfiguration,
    MpsError,
    SourceChanged,
    SourceNotAccessible,
)
from mps_dagster.ffmpeg.added import ADDED
from mps_dagster.ffmpeg.overlay import Watermark
from mps_dagster.ffmpeg.plan import StoredFile, StoredImage, TextImage
from mps_dagster.media.text import render_text
from mps_dagster.storage.buckets import Buckets
from mps_dagster.storage.keys import split_address
from mps_dagster.tasks.spec import Spec

MAX_BYTES = 20 * 2**20
MAX_PIXELS = 4096 * 4096
MAX_MOVING_PIXELS = 8 * MAX_PIXELS
"""Limit for all pictures of an animation together: they are in memory while it is rewritten, 4 bytes per pixel."""


def with_digests(spec: Spec, buckets: Buckets, templates_dir: Path) -> Spec:
    """The spec with the hash of each file that it names, and whether a watermark image is animated."""
    marks: tuple[Watermark, ...] = getattr(spec, "watermark_set", ())
    found: dict[str, object] = {}
    if any(mark.image_template for mark in marks):
        found["watermark_set"] = tuple(_looked_at(mark, buckets, templates_dir) for mark in marks)
    for name, member in ADDED.items():
        if added := getattr(spec, name, ()):
            found[name] = tuple(one.model_copy(update={"etag": _etag(getattr(one, member), buckets)}) for one in added)
    return spec.model_copy(update=found) if found else spec


def lay_out(
    attachments: Iterable[TextImage | StoredImage | StoredFile], folder: Path, buckets: Buckets, templates_dir: Path
) -> None:
    """Write each attachment to its name in the work folder."""
    for attachment in attachments:
        if isinstance(attachment, StoredFile):
            _fetch(attachment, folder / attachment.file, buckets)
            continue
        if isinstance(attachment, TextImage):
            content = render_text(
                attachment.text,
                font=attachment.font,
                size_px=attachment.size_px,
                color=attachment.color,
                alpha=attachment.alpha,
            )
        else:
            content = _png(_planned(attachment, buckets, templates_dir), attachment.image)
        (folder / attachment.file).write_bytes(content)


def _etag(address: str, buckets: Buckets) -> str:
    bucket, key = split_address(address)
    try:
        return buckets.get(bucket).head(key).etag
    except SourceNotAccessible as error:
        raise InvalidConfiguration(f"{address} is to be added, and is not there", hint="bucket/key") from error


def _fetch(added: StoredFile, path: Path, buckets: Buckets) -> None:
    bucket, key = split_address(added.address)
    try:
        buckets.get(bucket).fetch(key, path, etag=added.etag)
    except (SourceChanged, SourceNotAccessible) as error:
        raise AttachmentChanged(
            f"{added.address} was replaced or removed after the run had looked at it",
            hint="run it again, with all steps: the new file is taken then",
        ) from error


def _looked_at(mark: Watermark, buckets: Buckets, templates_dir: Path) -> Watermark:
    if mark.image_template is None:
        return mark
    reference = mark.image_template.image_content
    content = _content(reference, buckets, templates_dir)
    with _opened(content, reference) as image:
        animated = bool(getattr(image, "is_animated", False))
    template = mark.image_template.model_copy(
        update={"digest": hashlib.sha256(content).hexdigest(), "animated": animated}
    )
    return mark.model_copy(update={"image_template": template})


def _planned(attachment: StoredImage, buckets: Buckets, templates_dir: Path) -> bytes:
    """The planned content; raise `AttachmentChanged` if it was replaced, as the plan does not fit another picture."""
    content = _content(attachment.image, buckets, templates_dir)
    if hashlib.sha256(content).hexdigest() != attachment.digest:
        raise AttachmentChanged(
            f"watermark image {attachment.image!r} was replaced after the run had looked at it",
            hint="run it again, with all steps: the new image is taken then",
        )
    return content


def _content(reference: str, buckets: Buckets, templates_dir: Path) -> bytes:
    """Read `logo.png` from the templates folder, or `bucket/path/logo.png` from a bucket. Retryable errors are not wrapped."""
    try:
        if "/" in reference:
            bucket, key = split_address(reference)
            return buckets.get(bucket).read(key, max_bytes=MAX_BYTES)
        with (templates_dir / reference).open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (MpsError, OSError) as error:
        if isinstance(error, MpsError) and error.retryable:
            raise
        raise InvalidConfiguration(
            f"watermark image {reference!r} cannot be read: {error}", hint="a file of templates/, or bucket/key"
        ) from error
    if len(content) > MAX_BYTES:
        raise InvalidConfiguration(f"watermark image {reference!r} has more than the {MAX_BYTES} bytes that are taken")
    return content


def _opened(content: bytes, reference: str) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(content), formats=("PNG", "JPEG", "WEBP", "GIF"))
    except (UnidentifiedImageError, OSError) as error:
        raise InvalidConfiguration(f"watermark image {reference!r} is no PNG, JPEG or APNG") from error
    if image.width * image.height > MAX_PIXELS:
        raise InvalidConfiguration(
            f"watermark image {reference!r} is {image.width} x {image.height}; at most {MAX_PIXELS} pixels"
        )
    frames = getattr(image, "n_frames", 1)
    if image.width * image.height * frames > MAX_MOVING_PIXELS:
        raise InvalidConfiguration(
            f"watermark image {reference!r} is {image.width} x {image.height} in {frames} pictures;"
            f" at most {MAX_MOVING_PIXELS} pixels in all"
        )
    return image


def _png(content: bytes, reference: str) -> bytes:
    """Rewrite any accepted picture as PNG or APNG, so that ffmpeg reads no file from outside."""
    with _opened(content, reference) as image:
        buffer = io.BytesIO()
        if getattr(image, "is_animated", False):
            image.save(buffer, "PNG", save_all=True, default_image=False)
        else:
            image.convert("RGBA").save(buffer, "PNG")
        return buffer.getvalue()
