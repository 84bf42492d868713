"""The JSON schema of a workflow file accepts what the loader accepts, and refuses misspelt fields."""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft7Validator
from projects import ROOT, VOD

from mps_dagster.tasks import TASKS
from mps_dagster.workflow.parse import parse_workflow
from mps_dagster.workflow.schema import workflow_schema
from mps_dagster.workflow.templates import Templates

VALIDATOR = Draft7Validator(workflow_schema())
AROUND = "name: example\ntrigger: {bucket: inbox}\noutput: {bucket: outputs}\n"


def problems(text: str) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(yaml.safe_load(text))]


def example(name: str) -> str:
    """The workflow with the example in a task module's docstring."""
    text = inspect.cleandoc(sys.modules[TASKS[name].spec.__module__].__doc__)
    [found] = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    indented = "".join(f"  {line}\n" for line in found.splitlines())
    return f"{AROUND}tasks:\n{indented}"


def one_output(output: str, kind: str = "transcode") -> str:
    return f"{AROUND}tasks:\n  web:\n    type: {kind}\n    outputs: [{output}]\n"


def test_it_is_a_valid_schema():
    Draft7Validator.check_schema(workflow_schema())


@pytest.mark.parametrize("path", sorted((ROOT / "workflows").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_workflow_is_accepted(path: Path):
    assert problems(path.read_text()) == []


@pytest.mark.parametrize("name", TASKS)
def test_the_example_of_every_task_type_is_accepted(name: str):
    """By the loader, too, so that no example is stale."""
    assert problems(example(name)) == []
    assert parse_workflow(example(name), Templates.load(), name="example").tasks


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (VOD.replace("trigger:", "triger:"), "triger"),
        (VOD.replace("dir: /in/", "folder: /in/"), "folder"),
        (VOD.replace("type: local, queue: events", "type: local, queu: events"), "queu"),
        (VOD.replace("source: web/small", "sources: web/small"), "sources"),
        (VOD.replace("type: animated_graphics", "type: animated_graphic"), "animated_graphic"),
        (one_output("{definition: 100030, end_time_ofset: 3}"), "end_time_ofset"),
        (one_output("{definition: 100030, override_parameter: {video_template: {heigth: 3}}}"), "heigth"),
        (one_output("{name: a, raw_parameter: {conainer: mp4}}"), "conainer"),
        (one_output("{name: a, container: mp5}"), "mp5"),
        (one_output("{name: a, watermark_set: [{x_position: 2%}]}"), "x_position"),
        (one_output("{definition: 10, row_count: 4}", "sample_snapshot"), "row_count"),
        (one_output("{name: a, override_parameter: {container: mp4}}"), "definition"),
        (one_output("{name: a}", "watermark"), "a"),
    ],
)
def test_a_misspelt_field_is_refused(text: str, word: str):
    """Also one of another task type."""
    assert any(word in problem for problem in problems(text)), problems(text)


@pytest.mark.parametrize(
    "output",
    [
        "{definition: MP4-HD}",
        "{definition: 2001}",
        "{definition: 100030, video_template: {height: 480}, end_time_offset: 10, name: short}",
        "{definition: 100030, watermark_set: [{definition: 3001, override_parameter: {image_template: {width: 5%}}}]}",
        "{name: a, output_bucket: other, output_object_path: x, object_number_format: {min_length: 3}}",
    ],
)
def test_a_template_may_be_changed_in_part(output: str):
    assert problems(one_output(output)) == []


def test_an_editor_is_told_what_the_task_types_and_presets_are():
    schema = workflow_schema()
    [kinds] = [field["oneOf"] for name, field in schema["$defs"]["Task"]["properties"].items() if name == "type"]
    assert [kind["const"] for kind in kinds] == [*TASKS]
    assert all(kind["description"].endswith(".") for kind in kinds)
    assert "100030 (MP4-HD)" in schema["$defs"]["transcode"]["properties"]["definition"]["description"]
