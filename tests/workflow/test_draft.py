"""A new workflow's file is valid, whatever was answered."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml
from jsonschema import Draft7Validator
from projects import make_project

from mps_dagster.errors import InvalidConfiguration, InvalidInput
from mps_dagster.tasks import TASKS
from mps_dagster.workflow.draft import Draft, default_templates, draft_text, parse_sink, write_draft
from mps_dagster.workflow.project import Project
from mps_dagster.workflow.schema import MODELINE, SCHEMA_FILE, workflow_schema

DRAFT = Draft(
    name="web", bucket="inbox", dir="/web/", tasks={"transcode": (100030, "HLS-SD")}, output_bucket="outputs",
    output_dir="/{inputName}/", notify="local:events",
)  # fmt: skip


@pytest.fixture
def settings(tmp_path):
    return make_project(tmp_path)


def test_the_file_is_what_was_answered(settings):
    path, workflow = write_draft(DRAFT, settings)
    assert path == settings.workflows_dir / "web.yaml"
    assert Project.load(settings).by_name["web"] == workflow
    assert (workflow.trigger.bucket, workflow.trigger.dir) == ("inbox", "/web/")
    assert (workflow.output.bucket, workflow.output.dir) == ("outputs", "/{inputName}/")
    assert [sink.address for sink in workflow.notify] == ["local:events"]
    assert [spec.definition for spec in workflow.tasks["transcode"].specs] == [100030, 100220]


def test_its_first_line_names_a_schema_that_is_there(settings):
    path, _ = write_draft(DRAFT, settings)
    first, *_ = path.read_text().splitlines()
    assert first == MODELINE
    assert (path.parent / first.rpartition("=")[2]).resolve() == settings.project / SCHEMA_FILE
    assert (settings.project / SCHEMA_FILE).is_file()


@pytest.mark.parametrize("kind", TASKS)
def test_each_task_type_makes_a_valid_file(settings, kind: str):
    """For editors, too; and no line is longer than a page."""
    path, _ = write_draft(replace(DRAFT, tasks={kind: default_templates(kind)}), settings)
    text = path.read_text()
    assert list(Draft7Validator(workflow_schema()).iter_errors(yaml.safe_load(text))) == []
    assert max(map(len, text.splitlines())) <= 132


def test_all_task_types_fit_into_one_file(settings):
    write_draft(replace(DRAFT, tasks={kind: default_templates(kind) for kind in TASKS}), settings)


@pytest.mark.parametrize("folder", ["/{inputName}: #1/", "'it's \"quoted\"'", "/[a, b]/", "/ümläut/"])
def test_answers_are_quoted_where_yaml_needs_it(settings, folder: str):
    _, workflow = write_draft(replace(DRAFT, output_dir=folder), settings)
    assert workflow.output.dir == folder


@pytest.mark.parametrize(
    ("notify", "sink"),
    [
        ("local:done", {"type": "local", "queue": "done"}),
        ("sqs:done.fifo", {"type": "aws_sqs", "queue": "done.fifo"}),
        ("sqs:https://sqs.example.com/1/done", {"type": "aws_sqs", "queue": "https://sqs.example.com/1/done"}),
        ("cmq:done", {"type": "tdmq_cmq", "queue": "done"}),
        ("https://example.com/done?a=b", {"type": "url", "url": "https://example.com/done?a=b"}),
        ("none", None),
    ],
)
def test_each_sink_has_a_short_form(settings, notify: str, sink: dict | None):
    assert parse_sink(notify) == sink
    path, _ = write_draft(replace(DRAFT, notify=notify), settings)
    assert yaml.safe_load(path.read_text()).get("notify") == ([sink] if sink else None)


@pytest.mark.parametrize("changes", [{"name": "1web"}, {"name": "backfill"}, {"bucket": "a b"}, {"tasks": {}}])
def test_what_the_loader_refuses_is_not_written(settings, changes: dict):
    with pytest.raises(InvalidInput):
        write_draft(replace(DRAFT, **changes), settings)
    assert [path.name for path in settings.workflows_dir.iterdir()] == ["vod.yaml"]


def test_a_name_that_another_file_has_is_refused(settings):
    (settings.workflows_dir / "vod.yaml").rename(settings.workflows_dir / "other.yaml")
    with pytest.raises(InvalidConfiguration, match="another file already has a workflow 'vod'"):
        write_draft(replace(DRAFT, name="vod"), settings)


def test_a_file_that_is_there_is_not_overwritten(settings):
    """Even if it is not valid, and so has no workflow."""
    path = settings.workflows_dir / "web.yaml"
    path.write_text("name: [")
    with pytest.raises(InvalidConfiguration, match="already"):
        write_draft(DRAFT, settings)
    assert path.read_text() == "name: ["


def test_a_remark_is_made_once(settings):
    text = draft_text(DRAFT, Project.load(settings).templates)
    assert text.count("only the beginning") == 1
