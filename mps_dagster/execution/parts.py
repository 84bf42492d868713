"""Parts: subtasks whose files go into another's output, such as the renditions of an adaptive set.

A part is carried out like any subtask; its files lie in the bucket of the outputs, with our records, until the assembly removes
them. So each can be made anywhere, fails alone, and is not made again when only others have failed. If the whole output stands,
its parts are not made at all.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from mps_dagster.errors import MpsError
from mps_dagster.execution.fingerprint import fingerprint
from mps_dagster.execution.records import read_record, record_key, reused, standing, up_to_date
from mps_dagster.execution.staging import staged, staged_path
from mps_dagster.execution.subtask import PartRef, Subtask, Whole
from mps_dagster.ffmpeg.plan import Part, Plan
from mps_dagster.storage.bucket import Bucket
from mps_dagster.storage.buckets import Buckets
from mps_dagster.tasks.result import SubtaskResult
from mps_dagster.workflow.model import RECORDS_DIR
from mps_dagster.workflow.naming import PART, WHOLE

PREFIX = f"{RECORDS_DIR}parts/"


class PartMissing(MpsError):
    """A part of an output was not made; its own subtask tells why."""


def with_parts(whole: Subtask, number: int, ffmpeg_version: str, known: dict[str, Subtask]) -> Subtask:
    """The subtask with references to its parts, for which subtasks are added to `known`, by fingerprint.

    Outputs of a task with equal parts have them in common.
    """
    plan = whole.plan
    if plan is None or not plan.parts:
        return whole
    refs = []
    for part in plan.parts:
        mark = fingerprint(whole.source, whole.bucket, part.plan, ffmpeg_version)
        made = known.get(mark) or _part_subtask(whole, part, number, mark)
        whole_ref = Whole(path=plan.primary_key, fingerprint=whole.fingerprint)
        known[mark] = made.model_copy(update={"wholes": (*made.wholes, whole_ref)})
        assert made.plan is not None  # noqa: S101  (just given)
        refs.append(PartRef(id=made.id, name=part.name, path=made.plan.primary_key, fingerprint=mark))
    bare = plan.model_copy(update={"parts": ()})
    return whole.model_copy(update={"id": f"{WHOLE}{whole.id}", "plan": bare, "parts": tuple(refs)})


def _part_subtask(whole: Subtask, part: Part, number: int, mark: str) -> Subtask:
    assert whole.plan is not None  # noqa: S101  (it has parts)
    # Also by the whole's path: runs on one source do not share the files, which one of them may have removed already.
    name = hashlib.sha256(f"{mark}\n{whole.plan.primary_key}".encode("utf-8", "surrogateescape")).hexdigest()[:40]
    outputs = tuple(output.model_copy(update={"key": f"{PREFIX}{name}-{output.file}"}) for output in part.plan.outputs)
    return whole.model_copy(
        update={
            "id": f"{PART}{number}_{part.name}",
            "label": f"{whole.label} {part.name}",
            "plan": part.plan.model_copy(update={"outputs": outputs}),
            "fingerprint": mark,
            "paths": {},
        }
    )


def standing_result(subtask: Subtask, bucket: Bucket) -> SubtaskResult | None:
    """The earlier result of a subtask that need not be made: its outputs are up to date, or the files of a part are not needed."""
    path = subtask.plan.primary_key if subtask.plan else ""
    return up_to_date(read_record(bucket, path), subtask, bucket) or _result_in_wholes(subtask, bucket)


def _result_in_wholes(part: Subtask, bucket: Bucket) -> SubtaskResult | None:
    """The part's result, if all outputs that need it stand."""
    found = None
    for whole in part.wholes:
        result = standing(read_record(bucket, whole.path), whole.fingerprint, bucket)
        if result is None:
            return None
        found = next((own for own in result.parts if own.fingerprint == part.fingerprint), None) or found
    return reused(found, part) if found else None


def fitted(plan: Plan, parts: Mapping[str, SubtaskResult]) -> Plan:
    """The plan without the renditions that are not worth their bits, if it leaves such out."""
    if plan.packaging is None or not plan.packaging.least_gain:
        return plan
    scores = {name: result.facts["quality"]["mean"] for name, result in parts.items() if "quality" in result.facts}
    packaging = plan.packaging.fitted(scores)
    kept = {track.part for track in packaging.tracks}
    facts = {**plan.facts, "scores": scores, "left_out": sorted(scores.keys() - kept)}
    return plan.model_copy(update={"packaging": packaging, "facts": facts})


def lay_out_parts(whole: Subtask, bucket: Bucket, run_dir: Path, folder: Path) -> dict[str, SubtaskResult]:
    """Put the files of each part into its folder; return the results by name. Raise `PartMissing` if one was not made."""
    results = {}
    for part in whole.parts:
        result = standing(read_record(bucket, part.path), part.fingerprint, bucket)
        if result is None:
            raise PartMissing(
                f"{part.name} of {whole.label} was not made, so the output is not complete",
                hint=f"see why {part.id} failed; a re-execution makes only what lacks",
            )
        (folder / part.name).mkdir()
        for output in result.outputs:
            file = folder / part.name / output.key.removeprefix(PREFIX).partition("-")[2]
            file.symlink_to(staged(bucket, output.key, output.etag, run_dir))
        results[part.name] = result
    return results


def keep_on_host(result: SubtaskResult, plan: Plan, folder: Path, bucket: Bucket, run_dir: Path) -> None:
    """Leave the files of a part where `staged` finds them, so that they are not fetched on the host that made them."""
    for output, planned in zip(result.outputs, plan.outputs, strict=True):
        path = staged_path(bucket, output.key, output.etag, run_dir)
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            os.link(folder / planned.file, path)


def remove_old_parts(bucket: Bucket, before: datetime) -> int:
    """Remove the files of parts that were written before; how many. Records go with other records."""
    old = [info.key for info in bucket.list(PREFIX) if info.modified < before]
    for key in old:
        bucket.delete(key)
    return len(old)


def remove_parts(results: Iterable[SubtaskResult], buckets: Buckets) -> None:
    """Remove the files of parts that have gone into their outputs, and the records of them."""
    for result in results:
        bucket = buckets.get(result.bucket)
        # One that was not made again has left no files.
        for key in [*result.keys, record_key(result.outputs[0].key)]:
            bucket.delete(key)
