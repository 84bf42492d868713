"""`mps new workflow`"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import click
from pydantic import TypeAdapter, ValidationError

from mps_dagster.cli.services import running
from mps_dagster.errors import InvalidInput, MpsError
from mps_dagster.notify.config import parse_sinks
from mps_dagster.settings import Settings
from mps_dagster.tasks import TASKS
from mps_dagster.workflow.draft import Draft, default_templates, parse_sink, write_draft
from mps_dagster.workflow.model import Name, Place, Trigger, Workflow
from mps_dagster.workflow.templates import Templates

T = TypeVar("T")
TaskAnswer = tuple[str, tuple[int | str, ...]]


@click.command()
@click.argument("name", required=False)
@click.option("--bucket", help="Bucket of the uploads: inbox, s3://NAME or cos://NAME-APPID.")
@click.option("--dir", "folder", help="Only uploads under it; / is the whole bucket.")
@click.option("--task", "tasks", multiple=True, help="TYPE or TYPE:TEMPLATE,TEMPLATE…; can be repeated.")
@click.option("--output-bucket", help="Bucket of the outputs.")
@click.option("--output-dir", help="May hold {inputName} and {inputFormat}.")
@click.option("--notify", help="local:QUEUE, sqs:QUEUE, cmq:QUEUE, an http(s) address, or none.")
@click.option("--yes", is_flag=True, help="Ask nothing; what is not given gets its default.")
def workflow(*, yes: bool, **options: str | tuple[str, ...] | None) -> None:
    """Write the file of a workflow, NAME.yaml in workflows/. Asks for what no option gives."""
    settings = Settings()
    if not (settings.project / "dagster.yaml").is_file():
        raise InvalidInput(
            f"there is no project in {settings.project}", hint="`mps init` makes one; or set MPS_PROJECT"
        )
    path, model = write_draft(_ask_all(options, Questions(settings, asks=not yes)), settings)
    click.echo(f"\nwritten: {path}")
    _say_what_next(model, settings)


class Questions:
    """Asks for what was not given, again after each answer that is not valid."""

    def __init__(self, settings: Settings, *, asks: bool) -> None:
        self.settings, self._asks = settings, asks
        self.templates = Templates.load(settings.templates_dir)

    def ask(self, given: object, text: str, default: str, read: Callable[[str], T]) -> T:
        if isinstance(given, str):
            return read(given)
        if not self._asks:
            return read(default)
        # The prompt shows what is wrong, and asks again.
        answer: T = click.prompt(text, default=default, value_proc=lambda value: _for_prompt(read, value.strip()))
        return answer


def _ask_all(options: dict[str, str | tuple[str, ...] | None], questions: Questions) -> Draft:
    ask = questions.ask
    name = ask(
        options["name"], "Name of the workflow, e.g. vod", "vod", lambda text: _free_name(text, questions.settings)
    )
    bucket = ask(options["bucket"], "Bucket of the uploads, e.g. inbox (a folder) or s3://my-uploads", "inbox", _bucket)
    folder = ask(options["folder"], "Dir in it, e.g. /in/ (/ is the whole bucket)", f"/{name}/", str)
    return Draft(
        name=name, bucket=bucket, dir=folder, tasks=_ask_tasks(options["tasks"], questions),
        output_bucket=ask(options["output_bucket"], "Bucket of the outputs, e.g. outputs or s3://my-outputs", "outputs", _place),
        output_dir=ask(
            options["output_dir"], "Dir in it, e.g. /vod/{inputName}/", f"/{name}/{{inputName}}.{{inputFormat}}/", str
        ),
        notify=ask(
            options["notify"], "Notification, e.g. local:events, sqs:my-queue, https://example.com/done or none",
            "local:events", _sink,
        ),
    )  # fmt: skip


def _ask_tasks(given: object, questions: Questions) -> dict[str, tuple[int | str, ...]]:
    if given and isinstance(given, tuple):
        answers = [_task(text, questions.templates) for text in given]
        tasks = dict(answers)
        if len(tasks) < len(answers):
            raise InvalidInput(
                "--task names a type twice", hint="write its templates together: transcode:100030,100220"
            )
        return tasks
    text = f"Tasks, separated by commas, of {', '.join(TASKS)}"
    kinds = questions.ask(None, text, "transcode, snapshot_by_time_offset", _kinds)
    return dict(_ask_templates(kind, questions) for kind in kinds)


def _ask_templates(kind: str, questions: Questions) -> TaskAnswer:
    default = ",".join(map(str, default_templates(kind)))
    if not default:
        return kind, ()
    text = f"Templates of {kind}, e.g. {default} (listed by `mps templates --kind {kind}`)"
    return questions.ask(None, text, default, lambda answer: _task(f"{kind}:{answer}", questions.templates))


def _for_prompt(read: Callable[[str], T], text: str) -> T:
    try:
        return read(text)
    except MpsError as error:
        raise click.BadParameter(str(error)) from error


def _bucket_of(model: type[Trigger] | type[Place], bucket: str) -> str:
    try:
        return model.model_validate({"bucket": bucket}).bucket
    except ValidationError as error:
        raise InvalidInput(error.errors()[0]["msg"].removeprefix("Value error, ")) from error


def _bucket(text: str) -> str:
    return _bucket_of(Trigger, text)


def _place(text: str) -> str:
    return _bucket_of(Place, text)


def _free_name(text: str, settings: Settings) -> str:
    try:
        TypeAdapter(Name).validate_python(text)
    except ValidationError as error:
        raise InvalidInput(f"{text!r} is no name of a workflow", hint="letters, digits and underscores") from error
    if (settings.workflows_dir / f"{text}.yaml").exists():
        raise InvalidInput(f"there is {settings.workflows_dir / text}.yaml already", hint="choose another name")
    return text


def _kinds(text: str) -> list[str]:
    kinds = [kind.strip() for kind in text.split(",") if kind.strip()]
    for kind in kinds:
        _check_kind(kind)
    if not kinds:
        raise InvalidInput("a workflow has at least one task")
    return kinds


def _check_kind(kind: str) -> None:
    if kind not in TASKS:
        raise InvalidInput(f"there is no task type {kind!r}; there are {', '.join(TASKS)}")


def _task(text: str, templates: Templates) -> TaskAnswer:
    """`transcode:100030,100220`, or only the type."""
    kind, _, listed = text.partition(":")
    _check_kind(kind)
    words = [word.strip() for word in listed.split(",") if word.strip()]
    definitions = tuple(int(word) if word.isdigit() else word for word in words) or default_templates(kind)
    for definition in definitions:
        templates.get(kind, definition)
    return kind, definitions


def _sink(text: str) -> str:
    sink = parse_sink(text)
    parse_sinks([sink] if sink else [])
    return text


def _say_what_next(model: Workflow, settings: Settings) -> None:
    trigger = model.trigger
    where = f"{trigger.bucket}{trigger.dir}"
    if "://" not in trigger.bucket:
        folder = settings.buckets_dir / trigger.bucket / trigger.prefix
        folder.mkdir(parents=True, exist_ok=True)
        where = str(folder)
    start = "reload the project in the UI (Deployment → Reload)" if running(settings) else "mps up"
    click.echo(f"next:    {start}, then drop a video into {where}")
    click.echo("         mps tasks shows what becomes of it")
