"""Break-down: source facts + task → subtasks. One output spec is one subtask; all its small stills are one, too."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mps_dagster.errors import InvalidConfiguration, MpsError
from mps_dagster.execution.attachments import with_digests
from mps_dagster.execution.subtask import Refusal, Subtask
from mps_dagster.ffmpeg.plan import Plan
from mps_dagster.storage.buckets import Buckets
from mps_dagster.storage.keys import check_key
from mps_dagster.tasks import TASKS
from mps_dagster.tasks.spec import Spec
from mps_dagster.workflow.model import RECORDS_DIR, Source, Task

REVISION = 1
"""Raised when the same plan would give other bytes: every fingerprint changes with it."""


def break_down(
    task: Task, source: Source, *, buckets: Buckets, templates_dir: Path, ffmpeg_version: str
) -> tuple[Subtask, ...]:
    """One subtask per output, in the task's order. An output that cannot be made of this source fails alone.

    What can pass, such as a bucket of watermarks that does not answer, is raised.
    """
    place = task.place(source)
    subtasks, taken = [], dict[tuple[str, str], str]()
    for number, spec in enumerate(task.specs):
        plan, refusal, bucket = None, None, spec.output_bucket or place.bucket
        try:
            looked_at = with_digests(spec, buckets, templates_dir)
            plan = TASKS[task.type].plan(looked_at, source.media, task.names(spec, source))
            _check_keys(plan, source, bucket)
            _check_taken(plan, bucket, spec.label, taken)
        except MpsError as error:
            if error.retryable:
                # It says nothing about this output; the whole step is tried again.
                raise
            plan, refusal = None, Refusal.of(error)
        subtask = Subtask(
            id=_identifier(number, spec), task=task.name, type=task.type, label=spec.label, source=source,
            bucket=bucket, spec=spec.model_dump(mode="json"), plan=plan, refusal=refusal,
            fingerprint=_fingerprint(source, bucket, plan, ffmpeg_version) if plan else "",
            revision=task.revision, paths=task.paths(spec, source),
        )  # fmt: skip
        subtasks.append(subtask)
    return tuple(subtasks)


def refused(task: str, kind: str, number: int, output: Mapping[str, Any], error: MpsError, source: Source) -> Subtask:
    """An output whose parameters are wrong: it fails alone, saying so."""
    label = str(output.get("name") or output.get("definition") or 0)
    return Subtask(
        id=re.sub(r"[^A-Za-z0-9_]", "_", f"{number}_{label}_refused")[:64], task=task, type=kind, label=label,
        source=source, bucket=source.bucket, spec=dict(output), plan=None, refusal=Refusal.of(error),
    )  # fmt: skip


def output_keys(plan: Plan) -> Iterable[str]:
    """Every key that is known before the run (segments are not)."""
    yield from (output.key for output in plan.outputs)
    yield from (text.key for text in plan.texts)


def _check_keys(plan: Plan, source: Source, bucket: str) -> None:
    segments = [plan.segments.key(0)] if plan.segments else []
    for key in [*output_keys(plan), *segments]:
        check_key(key)
        if key.startswith(RECORDS_DIR):
            raise InvalidConfiguration(
                f"{key!r} lies in {RECORDS_DIR}, which is ours", hint="choose another output path"
            )
        if (bucket, key) == (source.bucket, source.key):
            raise InvalidConfiguration(
                f"the output would overwrite its own source {source.uri}", hint="set output_object_path"
            )


def _check_taken(plan: Plan, bucket: str, label: str, taken: dict[tuple[str, str], str]) -> None:
    """Of two outputs on one path only the first is made: they would overwrite each other, and both would count as up to date."""
    segments = [plan.segments.key(0)] if plan.segments else []
    keys = [(bucket, key) for key in [*output_keys(plan), *segments]]
    other = next((taken[key] for key in keys if key in taken), None)
    if other is not None:
        raise InvalidConfiguration(
            f"output {other} is written to a path of {plan.primary_key!r} already",
            hint="set other paths on one of them",
        )
    taken.update(dict.fromkeys(keys, label))


def _identifier(number: int, spec: Spec) -> str:
    """A Dagster mapping key that a person can read."""
    return re.sub(r"[^A-Za-z0-9_]", "_", f"{number}_{spec.label}")[:64]


def _fingerprint(source: Source, bucket: str, plan: Plan, ffmpeg_version: str) -> str:
    parts = [REVISION, ffmpeg_version, source.bucket, source.key, source.etag, bucket, plan.model_dump(mode="json")]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
