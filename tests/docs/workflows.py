"""A YAML block of the docs as a whole document that the product's own loader reads: what it leaves out comes from a valid one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from mps_dagster.tasks import TASKS
from mps_dagster.workflow.draft import default_templates
from mps_dagster.workflow.model import Task, Workflow

from .pages import Block

Document = Mapping[str, Any]

AROUND: Document = {
    "name": "example", "trigger": {"bucket": "inbox"}, "output": {"bucket": "outputs"},
    "tasks": {"web": {"type": "transcode", "outputs": [{"definition": 100030}]}},
}  # fmt: skip


def shape(block: Block) -> str:
    """What a block is, by what is in it: `workflow`, `template`, `keys`, `prices`, or empty if nothing that we know."""
    document = yaml.safe_load(block.text)
    if isinstance(document, Mapping) and "kind" in document:
        return "template"
    if isinstance(document, Mapping) and "keys" in document:
        return "keys"
    if isinstance(document, Mapping) and all("rules" in _mapping(table) for table in document.values()):
        return "prices"
    return "workflow" if _part(document, block) else ""


def _mapping(document: Any) -> Document:
    return document if isinstance(document, Mapping) else {}


def as_workflow(block: Block) -> Document:
    return {**AROUND, **_part(yaml.safe_load(block.text), block)}


def _part(document: Any, block: Block) -> Document:
    """The block as members of a workflow; empty if it is none.

    It may be such members, members of a task, a list of outputs, or members of an output that only one task type has.
    """
    if isinstance(document, list):
        return _outputs({"outputs": document}, _task_type(block))
    members = set(document)
    if members <= set(Workflow.model_fields):
        return document
    if members <= set(Task.model_fields):
        return _outputs(document, _task_type(block))
    owners = [name for name, task in TASKS.items() if members <= set(task.spec.model_fields)]
    if len(owners) != 1:
        return {}
    [definition, *_] = default_templates(owners[0])
    return _outputs({"outputs": [{"definition": definition, **document}]}, owners[0])


def _outputs(task: Document, kind: str) -> Document:
    return {"tasks": {"example": {"type": kind, **task}}}


def _task_type(block: Block) -> str:
    """Pages have a section for each task type; elsewhere outputs are those of a transcode."""
    return block.section if block.section in TASKS else "transcode"
