"""The dedup ledger of a bucket's sensor: the uploads that have a run, or need none.

An upload is added only once its run is in Dagster's queue. Until then, Dagster's `run_key` prevents a second run. So
whenever a process is killed, no upload is lost and none is run twice.
The ledger is a set of dynamic partitions that no asset uses: Dagster has an index on it, and unlike `run_key` it survives
the deletion of runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime

import dagster as dg

from mps_dagster.control import tags
from mps_dagster.workflow.naming import requested_name

OVERLAP_S = 30.0
"""How far before the newest change the next read begins: runs are created in several threads, and on several hosts."""
FIRST_LOOK_BACK_S = 24 * 3600.0
"""Where reading begins when the cursor is new or was reset; older runs were added long ago."""
AT_ONCE = 1000
REMEMBERED = 200_000
"""Keys that a process keeps in memory, as the ledger never forgets one; 25 MB."""


class PartitionLedger:
    """Run keys of the uploads to one bucket, in a set for each workflow; implements `control.uploads.Ledger`."""

    def __init__(self, instance: dg.DagsterInstance, bucket: str, remembered: set[str]) -> None:
        """`remembered` holds keys that are in the ledger, of this bucket and process."""
        self._instance, self._bucket, self._remembered = instance, bucket, remembered

    def add_runs(self, since: float | None, now: float) -> float:
        """Add the uploads whose runs were queued or changed since; return the `since` of the next call."""
        start = (since or now - FIRST_LOOK_BACK_S) - OVERLAP_S
        filters = dg.RunsFilter(tags={tags.BUCKET: self._bucket}, updated_after=datetime.fromtimestamp(start, UTC))
        records = self._instance.get_run_records(filters)
        # A run that was created but not queued may never run; when it is requested again, Dagster queues it.
        known = [
            record.dagster_run.tags
            for record in records
            if record.dagster_run.status is not dg.DagsterRunStatus.NOT_STARTED
        ]
        # Runs by hand have none, nor has a run that was re-executed with other tags.
        self.add(_run_key(run_tags) for run_tags in known if tags.RUN_KEY in run_tags and tags.WORKFLOW in run_tags)
        newest = max((record.update_timestamp.timestamp() for record in records), default=start + OVERLAP_S)
        # Another host's clock may be ahead.
        return max(min(newest, now), since or 0.0)

    def add(self, keys: Iterable[str]) -> None:
        new = dict.fromkeys(key for key in keys if key not in self._remembered)
        for workflow, uploads in _by_workflow(new).items():
            for start in range(0, len(uploads), AT_ONCE):
                self._instance.add_dynamic_partitions(requested_name(workflow), uploads[start : start + AT_ONCE])
        self._remember(new)

    def among(self, keys: Iterable[str]) -> AbstractSet[str]:
        """The keys that are in the ledger; one indexed query for each workflow."""
        known = self._remembered.intersection(keys := list(keys))
        for workflow, uploads in _by_workflow(key for key in keys if key not in known).items():
            found = self._instance.get_existing_dynamic_partitions(requested_name(workflow), uploads)
            known |= {f"{workflow}:{upload}" for upload in found}
        self._remember(known)
        return known

    def _remember(self, keys: Iterable[str]) -> None:
        if len(self._remembered) > REMEMBERED:
            self._remembered.clear()
        self._remembered.update(keys)


def _by_workflow(keys: Iterable[str]) -> dict[str, list[str]]:
    """Uploads by workflow, whose sets are older than sensors that serve several."""
    uploads: dict[str, list[str]] = {}
    for key in keys:
        workflow, _, upload = key.partition(":")
        uploads.setdefault(workflow, []).append(upload)
    return uploads


def _run_key(run_tags: Mapping[str, str]) -> str:
    """The run key; that of a workflow's own sensor, which earlier versions had, did not name the workflow."""
    key = run_tags[tags.RUN_KEY]
    return key if ":" in key else f"{run_tags[tags.WORKFLOW]}:{key}"
