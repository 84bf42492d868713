"""The key that encrypts HLS segments, if it is an object: 16 random bytes, made for the first set that names it."""

from __future__ import annotations

import os
from contextlib import suppress
from urllib.parse import quote

from mps_dagster.errors import ContentUnsupported, InvalidConfiguration, SourceNotAccessible
from mps_dagster.storage.bucket import Bucket
from mps_dagster.storage.buckets import Buckets
from mps_dagster.storage.keys import check_key, split_address
from mps_dagster.tasks.spec import OutputNames, Spec, fill

KEY_BYTES = 16


def with_key(spec: Spec, names: OutputNames, buckets: Buckets) -> Spec:
    """The spec with its key and the address that players get it from; as it is if it encrypts nothing."""
    drm = getattr(spec, "drm_info", None)
    if drm is None:
        return spec
    aes = drm.simple_aes_drm
    found = {"uri": fill(aes.uri, {"inputName": quote(names.input_name, safe="")})}
    if aes.key_object:
        bucket, key = split_address(fill(aes.key_object, {"inputName": names.input_name}))
        found["key"] = _kept(buckets.get(bucket), check_key(key)).hex()
    filled = drm.model_copy(update={"simple_aes_drm": aes.model_copy(update=found)})
    return spec.model_copy(update={"drm_info": filled})


def _kept(bucket: Bucket, key: str) -> bytes:
    """The key that is there, also if another run has made it just now."""
    with suppress(SourceNotAccessible):
        return _read(bucket, key)
    bucket.swap(key, None, os.urandom(KEY_BYTES))
    return _read(bucket, key)


def _read(bucket: Bucket, key: str) -> bytes:
    try:
        content = bucket.read(key, max_bytes=KEY_BYTES)
    except ContentUnsupported:
        content = b""
    if len(content) != KEY_BYTES:
        raise InvalidConfiguration(
            f"{bucket.name}/{key} is no key: it has not {KEY_BYTES} bytes",
            hint="remove it, or choose another key_object",
        )
    return content
