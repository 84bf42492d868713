"""The private parts of Dagster that we rely on; nothing else imports them. tests/orchestration/test_internals.py tests each one."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import dagster as dg
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from dagster._core.execution.backfill import BulkActionsFilter as BulkActionsFilter
from dagster._core.execution.backfill import BulkActionStatus as BulkActionStatus
from dagster._core.execution.backfill import PartitionBackfill as PartitionBackfill
from dagster._core.utils import make_new_backfill_id


def add_backfill(
    instance: dg.DagsterInstance,
    assets: Sequence[dg.AssetsDefinition],
    selection: Sequence[dg.AssetKey],
    partitions: Sequence[str],
    *,
    title: str,
    tags: Mapping[str, str],
) -> str:
    """Queue a backfill for Dagster's daemon, as its web server does; return the id. `assets` are those that there are."""
    backfill = PartitionBackfill.from_asset_partitions(
        backfill_id=make_new_backfill_id(), asset_graph=AssetGraph.from_assets(assets), partition_names=partitions,
        asset_selection=selection, backfill_timestamp=time.time(), tags=tags, dynamic_partitions_store=instance,
        all_partitions=False, title=title, description=None, run_config=None,
    )  # fmt: skip
    instance.add_backfill(backfill)
    return backfill.backfill_id
