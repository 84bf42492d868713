"""Launches a planned backfill as Dagster backfills, and opens the instance that it is planned from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
import pandas as pd
from dagster import DagsterInstance

from mps_dagster.control.backfill import connected
from mps_dagster.control.tags import workflow_tags
from mps_dagster.errors import InvalidInput
from mps_dagster.orchestration.graphs import workflow_assets, workflow_graphs
from mps_dagster.orchestration.internals import add_backfill
from mps_dagster.orchestration.ledger import PartitionLedger
from mps_dagster.settings import Settings
from mps_dagster.workflow.model import Workflow
from mps_dagster.workflow.naming import partition_key, uploads_name

PRIORITY = -1
"""Below that of new uploads, which go first."""


@contextmanager
def open_instance(settings: Settings) -> Iterator[DagsterInstance]:
    """The Dagster instance of this deployment, whether it is running or not."""
    if not (settings.dagster_home / "dagster.yaml").is_file():
        raise InvalidInput(f"nothing was ever started in {settings.home}", hint="mps up, or set MPS_HOME")
    with DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        yield instance


def launch(instance: DagsterInstance, workflow: Workflow, table: pd.DataFrame) -> Iterator[str]:
    """Queue a plan as Dagster backfills, one for each set of missing tasks; yield each id as soon as it is queued."""
    assets = workflow_assets(workflow, workflow_graphs(workflow))
    for tasks, rows in table.groupby("tasks", sort=False):
        partitions = [partition_key(key) for key in rows["key"]]
        instance.add_dynamic_partitions(uploads_name(workflow.name), partitions)
        for names in connected(workflow, tasks):
            yield add_backfill(
                instance, assets, [dg.AssetKey([workflow.name, name]) for name in names], partitions,
                title=f"{workflow.name}: {', '.join(names)} of {len(partitions)} sources",
                tags=workflow_tags(workflow, priority=PRIORITY),
            )  # fmt: skip
        # Keeps the upload sensor from launching these, too. Last, so that none is lost if a backfill cannot be queued.
        PartitionLedger(instance, workflow.trigger.bucket, set()).add(key for key in rows["run_key"] if key)
