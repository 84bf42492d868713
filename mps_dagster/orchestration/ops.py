"""The ops of every workflow and of `process_media`: break_down → subtask × N → assemble."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import dagster as dg
from pydantic import Field

from mps_dagster.errors import MpsError
from mps_dagster.execution.assemble import assemble as assemble_task
from mps_dagster.execution.break_down import plan_task
from mps_dagster.execution.download import download
from mps_dagster.execution.pace import Notes
from mps_dagster.execution.perform import Worker
from mps_dagster.execution.progress import Report, progress_store, reporter
from mps_dagster.execution.sharing import Member, register
from mps_dagster.execution.subtask import Members, Subtask, TaskResult, Upload
from mps_dagster.orchestration.executor import end_with_the_run
from mps_dagster.orchestration.metadata import plan_metadata, source_metadata, subtask_metadata, task_metadata
from mps_dagster.storage.disk import filling
from mps_dagster.tasks.result import SubtaskResult
from mps_dagster.workflow.model import UPLOAD, Place
from mps_dagster.workflow.naming import StepKey, op_name

RETRIES = dg.RetryPolicy(max_retries=2, delay=3, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)
"""For retryable errors only: the others are failures that allow no retries."""

op = partial(dg.op, required_resource_keys={"worker"}, retry_policy=RETRIES)

UPSTREAM = dg.PythonObjectDagsterType((Upload, TaskResult, type(None)), name="Upstream")
"""The input of a task. None comes from an empty slot of `process_media` or an empty task by hand."""


class UploadConfig(dg.Config):
    """Config of a run on an upload. A bare `dict` is a free mapping; Dagster's `dict[str, Any]` takes no nulls."""

    etag: str = Field("", description="Refuse content with another ETag; empty accepts any.")
    notify: list[dict] = Field([], description="Sinks, as in a workflow file.")  # type: ignore[type-arg]


class SourceConfig(UploadConfig):
    """Config of a run by hand."""

    bucket: str = Field(description="Local bucket name or s3://bucket.")
    key: str = Field(description="Object key, no leading slash.")
    output: dict = Field({}, description="Place for all tasks: {bucket, dir}.")  # type: ignore[type-arg]
    url: str = Field("", description="Where the object comes from, if it is not there yet.")


class TaskConfig(dg.Config):
    """A task of a workflow, as written."""

    workflow: str
    task: dict  # type: ignore[type-arg]


@contextmanager
def work(context: dg.OpExecutionContext, **facts: Any) -> Iterator[Worker]:
    """Wraps the body of every op: it does not begin after its run's end, and its errors become failures with our metadata.

    Only retryable errors are retried. The last attempt allows no retry, because Dagster would then report "exceeded
    max_retries" in place of the failure.
    """
    end_with_the_run(context)
    worker: Worker = context.resources.worker
    try:
        # Room is checked for sources and outputs; any small file of ours may also be the one too many.
        with filling("cannot write a file of this run", worker.settings.scratch_dir):
            yield worker
    except Exception as error:
        # Any other error is a bug or unforeseen; its traceback stays with the cause.
        known = error if isinstance(error, MpsError) else MpsError(f"{type(error).__name__}: {error}")
        raise failure(known, allow_retries=context.retry_number < RETRIES.max_retries, **facts) from error


def failure(error: MpsError, *, allow_retries: bool = False, **facts: Any) -> dg.Failure:
    metadata: dict[str, Any] = {
        "code": error.code, "number": error.number, "message": error.message, "hint": error.hint,
        "retryable": error.retryable, **{key: dg.MetadataValue.json(value) for key, value in facts.items()},
    }  # fmt: skip
    return dg.Failure(str(error), metadata=metadata, allow_retries=error.retryable and allow_retries)


def fetch_source(context: dg.OpExecutionContext, bucket: str, key: str, etag: str, output: Place) -> dg.Output[Upload]:
    """Stage and probe one object, for the `source` asset and op."""
    with work(context, input={"bucket": bucket, "key": key}) as worker:
        source = worker.fetch_source(bucket, key, etag or None, context.run_id)
        context.add_output_metadata(source_metadata(source))
    # Outputs stay up to date when the same content is fetched again.
    return dg.Output(Upload(source=source, output=output), data_version=dg.DataVersion(source.etag))


@op(name=op_name(UPLOAD), description="Fetch one object to scratch and probe it.")
def source_op(context: dg.OpExecutionContext, config: SourceConfig) -> dg.Output[Upload]:
    if config.url:
        with work(context, input={"url": config.url}) as worker:
            download(config.url, worker.buckets.get(config.bucket), config.key, worker.settings)
    return fetch_source(context, config.bucket, config.key, config.etag, Place.model_validate(config.output))


@op(
    name=op_name("break_down"),
    description="Break a task down into one subtask per output. An empty task has none.",
    ins={"source": dg.In(UPSTREAM)},
    out={
        # Required, though it may yield nothing: an optional one that stays empty would skip the assembly.
        "subtasks": dg.DynamicOut(Subtask),
        "members": dg.Out(dg.Optional[Members], description="The subtasks whose results the assembly needs."),
    },
)
def break_down(context: dg.OpExecutionContext, config: TaskConfig, source: Upload | TaskResult) -> Iterator[Any]:
    with work(context, task=config.task) as worker:
        plan = plan_task(config.task, source, worker)
        if worker.settings.share_decoding:
            register(worker.settings.scratch_dir / context.run_id, _members(context, plan.subtasks))
    for subtask in plan.subtasks:
        yield dg.DynamicOutput(subtask, mapping_key=subtask.id, output_name="subtasks")
    metadata = plan_metadata(plan.subtasks, config.task)
    yield dg.Output(plan.members(config.workflow), output_name="members", metadata=metadata)


def _members(context: dg.OpExecutionContext, subtasks: Iterable[Subtask]) -> Iterator[Member]:
    graph = StepKey.parse(context.get_step_execution_context().step.key).graph
    return (Member(step=str(StepKey(graph, "subtask", subtask.id)), subtask=subtask) for subtask in subtasks)


@op(
    name=op_name("subtask"),
    description="One ffmpeg job: stage in, run, verify, publish. Does nothing if its outputs are up to date.",
)
def subtask(context: dg.OpExecutionContext, job: Subtask) -> SubtaskResult:
    with work(context) as worker:
        result = worker.perform(job, context.run_id, _report(context, worker))
        context.add_output_metadata(subtask_metadata(result, worker.settings.files_url))
    return result


def _report(context: dg.OpExecutionContext, worker: Worker) -> Report:
    """Progress goes to its store, and some of it to the run's page, which shows nothing of a running step but its log."""

    def note(text: str) -> None:
        # An event log that is away for a moment must not fail what is being made.
        with suppress(Exception):
            context.log.info(text)

    keep = progress_store(worker.settings).keep(context.run_id, context.get_step_execution_context().step.key)
    return reporter(keep, Notes(note).hear)


@op(
    name=op_name("assemble"),
    description="Collect the subtasks' results, write the manifest, record the outputs.",
    ins={"members": dg.In(dg.Optional[Members])},
    out=dg.Out(dg.Optional[TaskResult]),
)
def assemble(
    context: dg.OpExecutionContext, members: Members | None, results: list[SubtaskResult]
) -> dg.Output[TaskResult | None]:
    if members is None:
        return dg.Output(None)
    with work(context) as worker:
        result = assemble_task(members, context.run.root_run_id or context.run_id, results, worker.buckets)
        context.add_output_metadata(task_metadata(result, worker.settings.files_url))
    return dg.Output(result, data_version=dg.DataVersion(members.version))
