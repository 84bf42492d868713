"""Writes and reads run configs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mps_dagster.notify.config import SinkConfig, as_written
from mps_dagster.workflow.model import UPLOAD
from mps_dagster.workflow.naming import node_name

Config = Mapping[str, Any]


def run_config(ops: Mapping[str, Config]) -> dict[str, Any]:
    """The run config of ops or graphs, by their names in the job."""
    return {"ops": {name: {"config": dict(config)} for name, config in ops.items()}}


def op_configs(config: Config) -> dict[str, Config]:
    """The inverse of `run_config`."""
    return {name: op.get("config") or {} for name, op in (config.get("ops") or {}).items()}


def upload_config(workflow: str, etag: str, sinks: Iterable[SinkConfig]) -> dict[str, Any]:
    """For a run on an upload: its etag, and the sinks, in case the workflow is deleted before the run ends."""
    return run_config({node_name(workflow, UPLOAD): {"etag": etag, "notify": as_written(sinks)}})


def by_hand_config(source: Config, tasks: Mapping[str, Config]) -> dict[str, Any]:
    """For `process_media` and a schedule's job: the source's config, and the tasks by the names of their graphs."""
    return run_config({UPLOAD: source, **{name: {"task": task} for name, task in tasks.items()}})


def source_config(config: Config, workflow: str = "") -> Config:
    """The config of the source op, in a run by hand or on an upload of the workflow; empty if there is none."""
    return op_configs(config).get(node_name(workflow, UPLOAD) if workflow else UPLOAD, {})
