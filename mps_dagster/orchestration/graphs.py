"""Tasks as Dagster graphs: each is break_down → subtask × N → assemble.

A workflow's task is a graph-backed asset `[workflow, task]` downstream of the asset `[workflow, "source"]`; `process_media`
is a plain job of the same graphs, one slot per task type.
"""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from mps_dagster.control import tags
from mps_dagster.execution.subtask import Upload
from mps_dagster.orchestration.executor import PLANNING
from mps_dagster.orchestration.ops import UploadConfig, assemble, break_down, fetch_source, op, source_op, subtask
from mps_dagster.tasks import TASKS
from mps_dagster.workflow.model import UPLOAD, Place, Task, Workflow, predecessor
from mps_dagster.workflow.naming import PROCESS_MEDIA, by_hand_name, node_name, object_key, op_name, uploads_name

Graphs = Mapping[str, dg.GraphDefinition]


def uploads(workflow: str) -> dg.DynamicPartitionsDefinition:
    """One dynamic partition set per workflow; each source object is a partition."""
    return dg.DynamicPartitionsDefinition(name=uploads_name(workflow))


def workflow_assets(workflow: Workflow, graphs: Graphs) -> list[dg.AssetsDefinition]:
    """The source and every task, all partitioned by the source object."""
    return [
        _source_asset(workflow),
        *(_task_asset(workflow, task, graphs[task.name]) for task in workflow.tasks.values()),
    ]


def workflow_graphs(workflow: Workflow) -> Graphs:
    """By task."""
    return {
        task.name: _task_graph(
            node_name(workflow.name, task.name),
            workflow.name,
            task.model_dump(mode="json"),
            heavy=TASKS[task.type].heavy,
        )
        for task in workflow.tasks.values()
    }


def by_hand_job(workflow: Workflow, graphs: Graphs, executor: dg.ExecutorDefinition) -> dg.JobDefinition:
    """A workflow on one object of any bucket, named in the run config; not an upload, and so not partitioned."""

    @dg.job(
        name=by_hand_name(workflow.name),
        description=f"{workflow.title or workflow.name}, by hand: the job that ProcessMedia runs for its ScheduleId.",
        executor_def=executor,
        tags={tags.WORKFLOW: workflow.name},
    )
    def by_hand() -> None:
        results = {UPLOAD: source_op.alias(UPLOAD)()}
        for task in workflow.upstream_first:
            results[task.name] = graphs[task.name](results[predecessor(task, workflow.tasks)])

    return by_hand


def process_media_job(executor: dg.ExecutorDefinition) -> dg.JobDefinition:
    """All task types on one object of any bucket; the run config fills the slots, an empty one does nothing."""

    slots = {
        name: _task_graph(op_name(name), PROCESS_MEDIA, {"name": name, "type": name, "outputs": []}, heavy=task.heavy)
        for name, task in TASKS.items()
    }

    @dg.job(
        name=PROCESS_MEDIA,
        description=_PROCESS_MEDIA_HELP,
        executor_def=executor,
        tags={tags.WORKFLOW: PROCESS_MEDIA},
    )
    def process_media() -> None:
        source = source_op.alias(UPLOAD)()
        for name, slot in slots.items():
            slot.alias(name)(source)

    return process_media


_PROCESS_MEDIA_HELP = """Process one object by hand. In the launchpad:

```yaml
ops:
  source:
    config: {bucket: inbox, key: clip.mp4, output: {bucket: outputs, dir: /by-hand/}}
  transcode:
    config: {task: {outputs: [{definition: 100030}]}}
  sample_snapshot:
    config: {task: {outputs: [{definition: 10}]}}
```
"""


def _source_asset(workflow: Workflow) -> dg.AssetsDefinition:
    bucket = workflow.trigger.bucket

    @op(name=node_name(workflow.name, UPLOAD))
    def source(context: dg.OpExecutionContext, config: UploadConfig) -> dg.Output[Upload]:
        return fetch_source(context, bucket, object_key(context.partition_key), config.etag, Place())

    # Not `@dg.asset`: it names the op after the key, which may clash with another workflow's task.
    return dg.AssetsDefinition.from_op(
        source,
        keys_by_output_name={"result": dg.AssetKey([workflow.name, UPLOAD])},
        partitions_def=uploads(workflow.name),
        group_name=workflow.name,
        descriptions_by_output_name={"result": f"An upload to {bucket}{workflow.trigger.dir}: fetched and probed."},
        tags_by_output_name={"result": {"dagster/kind/file": ""}},
    )


def _task_asset(workflow: Workflow, task: Task, graph: dg.GraphDefinition) -> dg.AssetsDefinition:
    return dg.AssetsDefinition.from_graph(
        graph,
        keys_by_input_name={"source": dg.AssetKey([workflow.name, predecessor(task, workflow.tasks)])},
        keys_by_output_name={"result": dg.AssetKey([workflow.name, task.name])},
        # The UI shows the outputs of a changed task as out of date.
        code_versions_by_output_name={"result": task.revision},
        partitions_def=uploads(workflow.name),
        group_name=workflow.name,
        descriptions_by_output_name={"result": f"{task.type}: {', '.join(spec.label for spec in task.specs)}"},
    )


def _task_graph(name: str, workflow: str, task: Mapping[str, Any], *, heavy: bool) -> dg.GraphDefinition:
    """One task. Its config is the task itself, so that a run records all it did; the default is the workflow's task."""

    def fill(config: dict[str, Any]) -> dict[str, Any]:
        # In the launchpad only the outputs are written; name and type are the slot's.
        return {"break_down": {"config": {"workflow": workflow, "task": {**task, **config["task"]}}}}

    # All tasks are planned before the first subtask runs, which may make files of other tasks.
    plan = break_down.alias("break_down").tag({tags.PRIORITY: str(PLANNING)})
    # Heavy subtasks first: a long one that starts last leaves the other cores idle.
    work = subtask.alias("subtask").tag({tags.PRIORITY: "1" if heavy else "0"})

    @dg.graph(
        name=name,
        out={"result": dg.GraphOut()},
        config=dg.ConfigMapping(
            config_fn=fill, config_schema={"task": dg.Field(dg.Permissive(), default_value=dict(task))}
        ),
    )
    def task_graph(source: Any) -> Any:
        subtasks, members = plan(source)
        return assemble.alias("assemble")(members, subtasks.map(work).collect())

    return task_graph
