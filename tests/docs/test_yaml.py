"""Every YAML, JSON and Python block of the docs is valid as what it is."""

from __future__ import annotations

import json
from pathlib import Path

import botocore.session
import pytest
import yaml
from botocore.validate import ParamValidator
from jsonschema import Draft7Validator
from projects import ROOT

from mps_dagster.api.keys import load_keys
from mps_dagster.errors import MpsError
from mps_dagster.settings import Settings
from mps_dagster.usage.prices import load_prices
from mps_dagster.workflow.parse import parse_document
from mps_dagster.workflow.schema import workflow_schema
from mps_dagster.workflow.templates import Templates

from .pages import Block, blocks
from .workflows import AROUND, as_workflow, shape

TEMPLATES = Templates.load()
SCHEMA = Draft7Validator(workflow_schema())
YAML = blocks("yaml")


def of_shape(name: str) -> list[Block]:
    return [block for block in YAML if shape(block) == name]


def by_id(found: list[Block]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("block", found, ids=lambda block: block.id)


def a_block(text: str, section: str = "") -> Block:
    return Block("page.md", 1, "yaml", section, text)


def test_every_yaml_block_is_something_that_is_checked():
    """One of a new kind needs a check here."""
    assert [block.id for block in YAML if not shape(block)] == []
    assert len(of_shape("workflow")) > 20


@by_id(of_shape("workflow"))
def test_a_workflow_or_a_part_of_one_is_taken_by_the_loader_and_by_editors(block: Block):
    document = as_workflow(block)
    assert parse_document(document, TEMPLATES, block.id).tasks
    assert [error.message for error in SCHEMA.iter_errors(document)] == []


@by_id(of_shape("template"))
def test_a_template_file_is_taken_and_its_templates_can_be_used(block: Block, tmp_path: Path):
    (tmp_path / "own.yaml").write_text(block.text)
    templates = Templates.load(tmp_path)
    assert templates.bad == ()
    document = yaml.safe_load(block.text)
    outputs = [{"definition": template["definition"]} for template in document["templates"]]
    tasks = {"example": {"type": document["kind"], "outputs": outputs}}
    assert parse_document({**AROUND, "tasks": tasks}, templates, block.id).tasks


@by_id(of_shape("keys"))
def test_a_keys_file_is_taken(block: Block, tmp_path: Path):
    path = tmp_path / "api_keys.yaml"
    path.write_text(block.text)
    path.chmod(0o600)
    settings = Settings(project=tmp_path, home=tmp_path, api={"keys_file": path})
    assert [*load_keys(settings)] == [key["secret_id"] for key in yaml.safe_load(block.text)["keys"]]


@by_id(of_shape("prices"))
def test_a_file_of_prices_is_taken(block: Block, tmp_path: Path):
    path = tmp_path / "prices.yaml"
    path.write_text(block.text)
    assert load_prices(Settings(project=tmp_path, home=tmp_path, prices=path))


@pytest.mark.parametrize(
    ("block", "word"),
    [
        (a_block("trigger: {buckett: inbox}"), "buckett"),
        (a_block("notify: [{type: sqs, queue: done}]"), "sqs"),
        (a_block("backfill: {cron: nightly}"), "cron"),
        (a_block("tasks: {web: {type: transcode, outputs: [{definition: 77}]}}"), "77"),
        (a_block("outputs: [{definition: 100030, heigth: 3}]"), "heigth"),
        (a_block("- {definition: 10, row_count: 4}", section="sample_snapshot"), "row_count"),
        (a_block("add_on_audios: [{audio: a.m4a}]"), "audio"),
    ],
)
def test_a_mistake_in_a_block_would_be_found(block: Block, word: str):
    with pytest.raises(MpsError, match=word):
        parse_document(as_workflow(block), TEMPLATES, block.id)


def test_a_block_that_is_nothing_has_no_shape():
    assert shape(a_block("bucket: inbox")) == ""


def test_the_cors_rules_are_taken_by_s3():
    """By the model that boto3 checks requests with."""
    [rules] = [json.loads(block.text) for block in blocks("json") if "CORSRules" in block.text]
    request = botocore.session.get_session().get_service_model("s3").operation_model("PutBucketCors").input_shape
    report = ParamValidator().validate({"Bucket": "my-outputs", "CORSConfiguration": rules}, request)
    assert not report.has_errors(), report.generate_report()


def test_json_is_json():
    """Those of docs/api-examples.md are sent, too (tests/api/test_docs.py)."""
    assert [json.loads(block.text) for block in blocks("json")]


@by_id(blocks("python"))
def test_python_compiles(block: Block):
    """Their own tests run them: tests/cli/test_whole.py, tests/notify/test_sinks.py."""
    compile(block.text, str(ROOT / block.page), "exec", dont_inherit=True)
