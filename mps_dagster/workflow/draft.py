"""The first version of a workflow file: the answers to a few questions, with comments for whoever edits it next."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mps_dagster.errors import InvalidConfiguration
from mps_dagster.settings import Settings
from mps_dagster.storage.drafts import write_whole
from mps_dagster.tasks import TASKS
from mps_dagster.workflow.files import changing
from mps_dagster.workflow.model import Workflow
from mps_dagster.workflow.parse import parse_workflow
from mps_dagster.workflow.project import Project, check_unique
from mps_dagster.workflow.schema import MODELINE, SCHEMA_FILE, presets, schema_text, summary
from mps_dagster.workflow.templates import Templates

WIDTH = 110
SINKS = {"local": "local", "sqs": "aws_sqs", "cmq": "tdmq_cmq"}
"""Our short words for types of sinks."""
BESIDES: Mapping[str, str] = {
    "transcode": "# end_time_offset: 10            # seconds: only the beginning",
    "snapshot_by_time_offset": "ext_time_offset_set: [0s, 50%]   # seconds, or percent of the length",
    "animated_graphics": "end_time_offset: 3               # seconds; 0 = to the end",
}
"""What an output has besides its template."""
WITHOUT_TEMPLATE: Mapping[str, str] = {
    "watermark": """\
name: branded
watermark_set:                   # or an image of the folder templates: {image_template: {image_content: logo.png}}
  - {type: text, coordinate_origin: BottomLeft, x_pos: 2%, y_pos: 4%, text_content: your text}"""
}
"""An output of a task type that has no presets."""


@dataclass(frozen=True, slots=True)
class Draft:
    """The answers."""

    name: str
    bucket: str
    dir: str
    tasks: Mapping[str, tuple[int | str, ...]]
    """Task types, with IDs or names of templates."""
    output_bucket: str
    output_dir: str
    notify: str
    """`local:events`, `sqs:…`, `cmq:…`, an address, or `none`."""


def write_draft(draft: Draft, settings: Settings) -> tuple[Path, Workflow]:
    """Write the file if it is valid beside the project's others. Raise `InvalidConfiguration` if not, or if it exists."""
    path = settings.workflows_dir / f"{draft.name}.yaml"
    project = Project.load(settings)
    text = draft_text(draft, project.templates)
    workflow = parse_workflow(text, project.templates, name=path.name)
    check_unique(workflow, project.workflows, path.name)
    with changing(settings.workflows_dir) as change:
        if path.exists():
            raise InvalidConfiguration(f"there is {path} already", hint="choose another name")
        change.write(path, text.encode())
    schema = settings.project / SCHEMA_FILE
    if not schema.exists():
        write_whole(schema, schema_text().encode())
    return path, workflow


def draft_text(draft: Draft, templates: Templates) -> str:
    tasks = "\n".join(line for kind, definitions in draft.tasks.items() for line in _task(kind, definitions, templates))
    return f"""\
{MODELINE}
# Editors that read the line above complete the fields; `mps workflows validate --watch` checks this file when it is saved.
name: {_scalar(draft.name)}

# Which uploads start it. A bucket without :// is a folder in .mps/buckets; others are s3://name and cos://name-appid.
trigger:
  bucket: {_scalar(draft.bucket)}
  dir: {_scalar(draft.dir)}
  # formats: [mp4, mov]            # by default, the usual ones of video and audio

# Where outputs go. {{inputName}} and {{inputFormat}} are those of the upload.
output:
  bucket: {_scalar(draft.output_bucket)}
  dir: {_scalar(draft.output_dir)}
{_notification(draft.notify)}
# What is made of each upload. Each output is a subtask, and all of them run in parallel.
tasks:
{tasks}
"""


def parse_sink(text: str) -> dict[str, str] | None:
    """`local:events` → {type: local, queue: events}; None for `none`. Raise `InvalidConfiguration` for other words."""
    if text == "none":
        return None
    if text.startswith(("http://", "https://")):
        return {"type": "url", "url": text}
    kind, _, queue = text.partition(":")
    if kind not in SINKS or not queue:
        raise InvalidConfiguration(f"{text!r} is no sink", hint="local:events, sqs:NAME, cmq:NAME, https://… or none")
    return {"type": SINKS[kind], "queue": queue}


def default_templates(kind: str) -> tuple[int | str, ...]:
    """One that suits most videos; empty if the task type has no presets."""
    known = presets(kind, Templates.load().by_name)
    suits = [template.definition for template in known if template.name == "MP4-HD"]
    return tuple((suits or [template.definition for template in known])[:1])


def _notification(text: str) -> str:
    sink = parse_sink(text)
    written = f"notify: [{_scalar(sink)}]" if sink else "# notify: [{type: local, queue: events}]"
    return f"\n# Who gets an event when a run ends. `mps notifications receive` reads local queues.\n{written}\n"


def _task(kind: str, definitions: tuple[int | str, ...], templates: Templates) -> Iterator[str]:
    comment = textwrap.wrap(summary(TASKS[kind]), WIDTH) if kind in TASKS else []
    yield f"  {_scalar(kind)}:"
    yield from (f"    # {line}" for line in comment)
    yield f"    type: {_scalar(kind)}"
    yield "    outputs:"
    if not definitions:
        yield from _item(WITHOUT_TEMPLATE.get(kind, f"name: {kind}"))
    for number, definition in enumerate(definitions):
        name, besides = templates.get(kind, definition).name, BESIDES.get(kind, "")
        first = f"definition: {_scalar(definition)}"
        # A remark is made once.
        more = "" if number and besides.startswith("#") else besides
        yield from _item(f"{first:<33}# {name}\n{more}".rstrip())


def _item(text: str) -> Iterator[str]:
    first, *others = text.splitlines()
    yield f"      - {first}"
    yield from (f"        {line}" for line in others)


def _scalar(value: Any) -> str:
    """As YAML, in one line; quoted if need be."""
    text = yaml.safe_dump([value], default_flow_style=True, width=10_000, sort_keys=False, allow_unicode=True)
    return text.strip().removeprefix("[").removesuffix("]")
