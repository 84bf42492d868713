"""The fingerprint of an output: of its source, its plan and the tool. What has the same one is not made again."""

from __future__ import annotations

import hashlib
import json

from mps_dagster.ffmpeg.plan import Plan
from mps_dagster.workflow.model import Source

REVISION = 1
"""Increased when the same plan gives other bytes; it changes every fingerprint."""
_LATER = ("measures", "scoring", "parts", "packaging", "inspection", "chunks", "frames")
"""Members of plans that came later: without them a plan has the fingerprint that it had before."""


def fingerprint(source: Source, bucket: str, plan: Plan, ffmpeg_version: str) -> str:
    planned = plan.model_dump(mode="json", exclude={"estimated_bytes", "comparison"})
    for name in _LATER:
        if not planned[name]:
            del planned[name]
    parts = [REVISION, ffmpeg_version, source.bucket, source.key, source.etag, bucket, planned]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
