"""The dedup ledger of an upload sensor: the uploads that have a run, or need none.

An upload is added only once its run is in Dagster's queue. Until then, Dagster's `run_key` prevents a second run. So
whenever a process is killed, no upload is lost and none is run twice.
The ledger is a set of dynamic partitions that no asset uses: Dagster has an index on it, and unlike `run_key` it survives
the deletion of runs.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime

import dagster as dg

from mps_dagster.control import tags
from mps_dagster.workflow.naming import requested_name, sensor_name

OVERLAP_S = 30.0
"""How far before the newest change the next read begins: runs are created in several threads, and on several hosts."""
FIRST_LOOK_BACK_S = 24 * 3600.0
"""Where reading begins when the cursor is new or was reset; older runs were added long ago."""
AT_ONCE = 1000


class PartitionLedger:
    """Run keys of one workflow's uploads; implements `control.uploads.Ledger`."""

    def __init__(self, instance: dg.DagsterInstance, workflow: str) -> None:
        self._instance = instance
        self._sensor = sensor_name(workflow)
        self._set = requested_name(workflow)

    def add_runs(self, since: float | None, now: float) -> float:
        """Add the uploads whose runs were queued or changed since; return the `since` of the next call."""
        start = (since or now - FIRST_LOOK_BACK_S) - OVERLAP_S
        filters = dg.RunsFilter(tags={tags.SENSOR: self._sensor}, updated_after=datetime.fromtimestamp(start, UTC))
        records = self._instance.get_run_records(filters)
        # A run that was created but not queued may never run; when it is requested again, Dagster queues it.
        known = [
            record.dagster_run.tags
            for record in records
            if record.dagster_run.status is not dg.DagsterRunStatus.NOT_STARTED
        ]
        # A run that was re-executed with other tags may have none.
        self.add(run_tags[tags.RUN_KEY] for run_tags in known if tags.RUN_KEY in run_tags)
        newest = max((record.update_timestamp.timestamp() for record in records), default=start + OVERLAP_S)
        # Another host's clock may be ahead.
        return max(min(newest, now), since or 0.0)

    def add(self, keys: Iterable[str]) -> None:
        fresh = list(dict.fromkeys(keys))
        for start in range(0, len(fresh), AT_ONCE):
            self._instance.add_dynamic_partitions(self._set, fresh[start : start + AT_ONCE])

    def among(self, keys: Iterable[str]) -> AbstractSet[str]:
        """The keys that are in the ledger; one indexed query."""
        return self._instance.get_existing_dynamic_partitions(self._set, list(keys))
