"""The ops that every workflow and `process_media` are made of: break_down → subtask × N → assemble."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg

from mps_dagster.errors import InvalidInput, MpsError
from mps_dagster.execution.assemble import assemble as assemble_task
from mps_dagster.execution.break_down import break_down as plan_subtasks
from mps_dagster.execution.break_down import refused
from mps_dagster.execution.download import download
from mps_dagster.execution.perform import Worker
from mps_dagster.execution.progress import ProgressFile
from mps_dagster.execution.subtask import Subtask, TaskResult
from mps_dagster.frozen import Facts
from mps_dagster.orchestration.executor import end_with_the_run
from mps_dagster.orchestration.metadata import source_metadata, subtask_metadata, task_metadata
from mps_dagster.tasks.result import SubtaskResult
from mps_dagster.workflow.model import UPLOAD, Place, Source, Task
from mps_dagster.workflow.naming import ours
from mps_dagster.workflow.parse import parse_task
from mps_dagster.workflow.templates import Templates

RETRIES = dg.RetryPolicy(max_retries=2, delay=3, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)
"""Only errors that a retry can help get here: the others are failures that allow none."""

WORKER = {"worker"}


class Upload(Facts):
    """The value of a `source`: the object, and the place that its tasks inherit."""

    source: Source
    output: Place = Place()


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
        raise dg.Failure(
            description=str(known),
            metadata={
                "code": known.code, "number": known.number, "message": known.message, "hint": known.hint,
                "retryable": known.retryable,
                **{key: dg.MetadataValue.json(value) for key, value in facts.items()},
            },
            allow_retries=known.retryable and context.retry_number < RETRIES.max_retries,
        ) from error  # fmt: skip


def fetch_source(
    context: dg.OpExecutionContext, bucket: str, key: str, etag: str, output: Place
) -> dg.Output[dict[str, Any]]:
    """Stage and probe one upload; what the `source` asset and op do."""
    worker: Worker = context.resources.worker
    with failures(context, input={"bucket": bucket, "key": key}):
        source = worker.fetch_source(bucket, key, etag or None, context.run_id)
        context.add_output_metadata(source_metadata(source))
    upload = Upload(source=source, output=output).model_dump(mode="json")
    # What is made of the same content stays up to date, however often that is fetched.
    return dg.Output(upload, data_version=dg.DataVersion(source.etag))


@dg.op(
    name=ours(UPLOAD),
    description="Fetch one object to scratch and probe it.",
    config_schema={
        "bucket": dg.Field(str, description="Local bucket name or s3://bucket."),
        "key": dg.Field(str, description="Object key, no leading slash."),
        "etag": dg.Field(
            str, default_value="", description="Refuse another content than this one; empty takes what is there."
        ),
        "output": dg.Field(dg.Permissive(), default_value={}, description="Place for all tasks: {bucket, dir}."),
        "notify": dg.Field([dg.Permissive()], default_value=[], description="Sinks, as in a workflow file."),
        "url": dg.Field(str, default_value="", description="Where the object comes from, if it is not there yet."),
    },
    required_resource_keys=WORKER,
    retry_policy=RETRIES,
)
def source_op(context: dg.OpExecutionContext) -> dg.Output[dict[str, Any]]:
    end_with_the_run(context)
    config = context.op_config
    if config["url"]:
        with failures(context, input={"url": config["url"]}):
            worker: Worker = context.resources.worker
            download(config["url"], worker.buckets.get(config["bucket"]), config["key"], worker.settings)
    return fetch_source(
        context, config["bucket"], config["key"], config["etag"], Place.model_validate(config["output"])
    )


@dg.op(
    name=ours("break_down"),
    description="Source facts + task → one subtask per output. An empty task has none.",
    config_schema={"task": dg.Permissive(), "workflow": str},
    out={
        # Required, though it may yield nothing: an optional one that stays empty would skip the assembly.
        "subtasks": dg.DynamicOut(dict),
        "members": dg.Out(dict, description="Who must be there at the assembly."),
    },
    required_resource_keys=WORKER,
    retry_policy=RETRIES,
)
def break_down(context: dg.OpExecutionContext, source: dict[str, Any]) -> Iterator[Any]:
    end_with_the_run(context)
    worker: Worker = context.resources.worker
    document = context.op_config["task"]
    subtasks: tuple[Subtask, ...] = ()
    task, origin = None, None
    if document.get("outputs"):
        with failures(context, task=document):
            task, wrong = _task(document, source, worker)
            origin = _origin(source, task.source if task else document.get("source", UPLOAD))
            made = _planned(task, origin, worker) if task else iter(())
            name, kind = document["name"], document["type"]
            # In the order in which they were asked for.
            subtasks = tuple(
                refused(name, kind, number, output, wrong[number], origin) if number in wrong else next(made)
                for number, output in enumerate(document["outputs"])
            )
    for subtask in subtasks:
        yield dg.DynamicOutput(subtask.model_dump(mode="json"), mapping_key=subtask.id, output_name="subtasks")
    members = {
        "workflow": context.op_config["workflow"],
        "task": task.model_dump(mode="json") if task else None,
        "source": origin.model_dump(mode="json") if origin else None,
        "members": [subtask.id for subtask in subtasks],
    }
    planned = [
        {
            **subtask.model_dump(mode="json", include={"id", "task", "type", "label", "spec", "bucket", "paths"}),
            "override": asked.get("override_parameter"),
        }
        for subtask, asked in zip(subtasks, document.get("outputs", ()), strict=True)
    ]
    yield dg.Output(members, output_name="members", metadata={"subtasks": dg.MetadataValue.json(planned)})


@dg.op(
    name=ours("subtask"),
    description="One ffmpeg job: stage in, run, verify, publish. Does nothing where its outputs stand already.",
    required_resource_keys=WORKER,
    retry_policy=RETRIES,
)
def subtask(context: dg.OpExecutionContext, job: dict[str, Any]) -> dict[str, Any]:
    end_with_the_run(context)
    worker: Worker = context.resources.worker
    wanted = Subtask.model_validate(job)
    progress = ProgressFile.of(
        worker.settings.progress_dir, context.run_id, context.get_step_execution_context().step.key
    )
    with failures(context):
        result = worker.perform(wanted, context.run_id, progress.report)
        context.add_output_metadata(subtask_metadata(result, worker.settings.files_url))
    return result.model_dump(mode="json")


@dg.op(
    name=ours("assemble"),
    description="Collect the subtasks' results, write the manifest, record the outputs.",
    required_resource_keys=WORKER,
    retry_policy=RETRIES,
)
def assemble(
    context: dg.OpExecutionContext, members: dict[str, Any], results: list[dict[str, Any]]
) -> dg.Output[dict[str, Any]]:
    end_with_the_run(context)
    worker: Worker = context.resources.worker
    if members["task"] is None:
        return dg.Output({})
    task, source = Task.model_validate(members["task"]), Source.model_validate(members["source"])
    with failures(context):
        result = assemble_task(
            members["workflow"],
            context.run.root_run_id or context.run_id,
            task,
            source,
            members["members"],
            [SubtaskResult.model_validate(member) for member in results],
            worker.buckets,
        )
        context.add_output_metadata(task_metadata(result, worker.settings.files_url))
    return dg.Output(result.model_dump(mode="json"), data_version=dg.DataVersion(made_of(task, source)))


def made_of(task: Task, source: Source) -> str:
    """The data version of a task's asset: by which revision of the task, and of which content."""
    return f"{task.revision}.{source.etag}"


def _planned(task: Task, source: Source, worker: Worker) -> Iterator[Subtask]:
    templates, version = worker.settings.templates_dir, worker.ffmpeg.version
    return iter(plan_subtasks(task, source, buckets=worker.buckets, templates_dir=templates, ffmpeg_version=version))


def _task(document: dict[str, Any], source: dict[str, Any], worker: Worker) -> tuple[Task | None, dict[int, MpsError]]:
    """The task of the run config, validated again, templates that it still names filled in; and the outputs that are wrong.

    A workflow's were validated when its file was loaded. ProcessMedia's were not: MPS tells of them in the task's result.
    """
    output = Upload.model_validate(source).output if "results" not in source else Place()
    templates = Templates.load(worker.settings.templates_dir)
    inherited = {key: value for key, value in output.model_dump().items() if value}
    name, body = document["name"], {key: value for key, value in document.items() if key != "name"}
    wrong: dict[int, MpsError] = {}
    for number, wanted in enumerate(document["outputs"]):
        try:
            parse_task(name, {**body, "outputs": [wanted]}, inherited, templates, where=name)
        except InvalidInput as error:
            wrong[number] = error
    right = [wanted for number, wanted in enumerate(document["outputs"]) if number not in wrong]
    if not right:
        return None, wrong
    return parse_task(name, {**body, "outputs": right}, inherited, templates, where=name), wrong


def _origin(source: dict[str, Any], place: str) -> Source:
    """The upload, or the output of another task that this one works on."""
    if "results" not in source:
        return Upload.model_validate(source).source
    return TaskResult.model_validate(source).as_source(place.partition("/")[2])
