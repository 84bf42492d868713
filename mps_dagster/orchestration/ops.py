"""The ops that every workflow and `process_media` are made of: break_down → subtask × N → assemble."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
from pydantic import Field

from mps_dagster.errors import MpsError
from mps_dagster.execution.assemble import assemble as assemble_task
from mps_dagster.execution.break_down import plan_task
from mps_dagster.execution.download import download
from mps_dagster.execution.perform import Worker
from mps_dagster.execution.progress import ProgressFile
from mps_dagster.execution.subtask import Members, Subtask, TaskResult, Upload
from mps_dagster.orchestration.executor import end_with_the_run
from mps_dagster.orchestration.metadata import plan_metadata, source_metadata, subtask_metadata, task_metadata
from mps_dagster.tasks.result import SubtaskResult
from mps_dagster.workflow.model import UPLOAD, Place
from mps_dagster.workflow.naming import ours

RETRIES = dg.RetryPolicy(max_retries=2, delay=3, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)
"""Only errors that a retry can help get here: the others are failures that allow none."""

UPSTREAM = dg.PythonObjectDagsterType((Upload, TaskResult, type(None)), name="Upstream")
"""What a task works on. A slot of `process_media`, and a task by hand, that makes nothing hands on None."""


class UploadConfig(dg.Config):
    """What a run on an upload is told. A bare `dict` is a free mapping; Dagster's `dict[str, Any]` takes no nulls."""

    etag: str = Field("", description="Refuse other content than this; empty takes what is there.")
    notify: list[dict] = Field([], description="Sinks, as in a workflow file.")  # type: ignore[type-arg]


class SourceConfig(UploadConfig):
    """What a run by hand is told."""

    bucket: str = Field(description="Local bucket name or s3://bucket.")
    key: str = Field(description="Object key, no leading slash.")
    output: dict = Field({}, description="Place for all tasks: {bucket, dir}.")  # type: ignore[type-arg]
    url: str = Field("", description="Where the object comes from, if it is not there yet.")


class TaskConfig(dg.Config):
    """A task of a workflow, as written."""

    workflow: str
    task: dict  # type: ignore[type-arg]


@contextmanager
def failures(context: dg.OpExecutionContext, **facts: Any) -> Iterator[None]:
    """Our errors as Dagster failures, with what a person and the notification need to know.

    Only what a retry can help is retried. The last attempt allows no retry, because Dagster would then report "exceeded
    max_retries" in place of the failure.
    """
    try:
        yield
    except Exception as error:
        # Anything that is not ours is a bug, or something that nobody thought of: its traceback is the cause's.
        known = error if isinstance(error, MpsError) else MpsError(f"{type(error).__name__}: {error}")
        raise failure(known, allow_retries=context.retry_number < RETRIES.max_retries, **facts) from error


def failure(error: MpsError, *, allow_retries: bool = False, **facts: Any) -> dg.Failure:
    metadata: dict[str, Any] = {
        "code": error.code, "number": error.number, "message": error.message, "hint": error.hint,
        "retryable": error.retryable, **{key: dg.MetadataValue.json(value) for key, value in facts.items()},
    }  # fmt: skip
    return dg.Failure(str(error), metadata=metadata, allow_retries=error.retryable and allow_retries)


def fetch_source(context: dg.OpExecutionContext, bucket: str, key: str, etag: str, output: Place) -> dg.Output[Upload]:
    """Stage and probe one upload; what the `source` asset and op do."""
    worker: Worker = context.resources.worker
    with failures(context, input={"bucket": bucket, "key": key}):
        source = worker.fetch_source(bucket, key, etag or None, context.run_id)
        context.add_output_metadata(source_metadata(source))
    # What is made of the same content stays up to date, however often that is fetched.
    return dg.Output(Upload(source=source, output=output), data_version=dg.DataVersion(source.etag))


@dg.op(
    name=ours(UPLOAD),
    description="Fetch one object to scratch and probe it.",
    required_resource_keys={"worker"},
    retry_policy=RETRIES,
)
def source_op(context: dg.OpExecutionContext, config: SourceConfig) -> dg.Output[Upload]:
    end_with_the_run(context)
    worker: Worker = context.resources.worker
    if config.url:
        with failures(context, input={"url": config.url}):
            download(config.url, worker.buckets.get(config.bucket), config.key, worker.settings)
    return fetch_source(context, config.bucket, config.key, config.etag, Place.model_validate(config.output))


@dg.op(
    name=ours("break_down"),
    description="Source facts + task → one subtask per output. An empty task has none.",
    ins={"source": dg.In(UPSTREAM)},
    out={
        # Required, though it may yield nothing: an optional one that stays empty would skip the assembly.
        "subtasks": dg.DynamicOut(Subtask),
        "members": dg.Out(dg.Optional[Members], description="Who must be there at the assembly."),
    },
    required_resource_keys={"worker"},
    retry_policy=RETRIES,
)
def break_down(context: dg.OpExecutionContext, config: TaskConfig, source: Upload | TaskResult) -> Iterator[Any]:
    end_with_the_run(context)
    with failures(context, task=config.task):
        plan = plan_task(config.task, source, context.resources.worker)
    for subtask in plan.subtasks:
        yield dg.DynamicOutput(subtask, mapping_key=subtask.id, output_name="subtasks")
    metadata = plan_metadata(plan.subtasks, config.task)
    yield dg.Output(plan.members(config.workflow), output_name="members", metadata=metadata)


@dg.op(
    name=ours("subtask"),
    description="One ffmpeg job: stage in, run, verify, publish. Does nothing where its outputs stand already.",
    required_resource_keys={"worker"},
    retry_policy=RETRIES,
)
def subtask(context: dg.OpExecutionContext, job: Subtask) -> SubtaskResult:
    end_with_the_run(context)
    worker: Worker = context.resources.worker
    step = context.get_step_execution_context().step.key
    progress = ProgressFile.of(worker.settings.progress_dir, context.run_id, step)
    with failures(context):
        result = worker.perform(job, context.run_id, progress.report)
        context.add_output_metadata(subtask_metadata(result, worker.settings.files_url))
    return result


@dg.op(
    name=ours("assemble"),
    description="Collect the subtasks' results, write the manifest, record the outputs.",
    ins={"members": dg.In(dg.Optional[Members])},
    out=dg.Out(dg.Optional[TaskResult]),
    required_resource_keys={"worker"},
    retry_policy=RETRIES,
)
def assemble(
    context: dg.OpExecutionContext, members: Members | None, results: list[SubtaskResult]
) -> dg.Output[TaskResult | None]:
    end_with_the_run(context)
    worker: Worker = context.resources.worker
    if members is None:
        return dg.Output(None)
    with failures(context):
        result = assemble_task(members, context.run.root_run_id or context.run_id, results, worker.buckets)
        context.add_output_metadata(task_metadata(result, worker.settings.files_url))
    return dg.Output(result, data_version=dg.DataVersion(members.version))
