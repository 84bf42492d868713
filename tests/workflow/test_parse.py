"""Workflow files: each mistake is told by file, field, what was wrong and what is allowed; no file takes another down."""

from __future__ import annotations

from pathlib import Path

import pytest
from projects import ROOT, VOD

from mps_dagster.errors import InvalidConfiguration, MpsError
from mps_dagster.settings import Settings
from mps_dagster.tasks import TASKS
from mps_dagster.workflow.parse import parse_workflow
from mps_dagster.workflow.project import Project
from mps_dagster.workflow.templates import Templates

TEMPLATES = Templates.load()


def test_a_workflow_is_read_with_its_templates_filled_in():
    """And its paths, sinks and serial task."""
    workflow = parse_workflow(VOD, TEMPLATES, name="vod.yaml")
    assert (workflow.name, workflow.trigger.prefix, workflow.priority) == ("vod", "in/", 3)
    assert [task.upstream for task in workflow.tasks.values()] == ["source", "source", "web"]
    assert workflow.tasks["stills"].specs[0].fill_type == "stretch"
    assert workflow.notify[0].address == "local:events"


def test_the_shipped_workflows_are_valid():
    """What `make demo` runs, above all."""
    project = Project.load(Settings(project=ROOT))
    assert [workflow.name for workflow in project.workflows] == ["demo"]
    assert project.bad == ()


def changed(old: str, new: str) -> str:
    assert old in VOD
    return VOD.replace(old, new)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("a: [", "not YAML", id="no yaml"),
        pytest.param("- a", "a workflow is a mapping", id="no mapping"),
        pytest.param("name: x", "trigger: Field required", id="nothing in it"),
        pytest.param(changed("name: vod", "name: my vod"), "name: String should match", id="a name Dagster does not take"),
        pytest.param(changed("name: vod", "name: retention"), "name: 'retention' is kept for a job of our own", id="a job of ours"),
        pytest.param(changed("name: vod", "name: s100001_by_hand"), "is kept for a job of our own", id="a schedule's job"),
        pytest.param(changed("  teaser:\n", "  source:\n"), "tasks.source: name: no task can be called 'source'", id="a task called source"),
        pytest.param(changed("type: transcode", "type: transcod"), "tasks.web: type: there is no task type 'transcod'", id="task type"),
        pytest.param(changed("definition: 10,", "definition: 11,"), "tasks.stills.outputs[0]: there is no snapshot_by_time_offset template 11", id="template"),
        pytest.param(changed("height: 90", "heigth: 90"), "tasks.web: video_template.heigth: Extra inputs", id="field"),
        pytest.param(changed("height: 90", "height: tall"), "video_template.height: Input should be a valid integer", id="value"),
        pytest.param(changed("effort: fast", "effort: hasty"), "'fast', 'balanced' or 'quality' (found 'hasty')", id="choice"),
        pytest.param(changed("priority: 3", "priority: 11"), "priority: Input should be less than or equal to 10 (found 11)", id="range"),
        pytest.param(changed("bucket: inbox", "bucket: no/bucket"), "trigger.bucket: 'no/bucket' is no bucket", id="bucket"),
        pytest.param(changed("bucket: inbox", "bucket: 'cos://media'"), "ends with the account's APPID", id="COS bucket"),
        pytest.param(changed("bucket: inbox", "bucket: uploads"), "is for objects processed by hand", id="bucket of objects run by hand"),
        pytest.param(changed("dir: /in/", "dir: /in/, formats: ['*.mp4']"), "trigger.formats: '*.mp4' is no file extension", id="formats as a pattern"),
        pytest.param(changed("dir: /in/", "dir: /in/, formats: ['mp4,mov']"), "'mp4,mov' is no file extension", id="formats in one"),
        pytest.param(changed("dir: /in/", "dir: /in/, formats: ['video/mp4']"), "'video/mp4' is no file extension", id="formats as types"),
        pytest.param(changed("dir: /in/", "dir: /in/, formats: [' mp4']"), "' mp4' is no file extension", id="formats with a space"),
        pytest.param(changed("dir: /in/", "dir: /in/, listing: false"), "there must be a queue", id="neither listing nor queue"),
        pytest.param(changed("dir: /in/", "dir: /in/, queue: news"), "is a folder, which announces nothing", id="queue of a folder"),
        pytest.param(changed("type: local", "type: mail"), "notify[0]", id="sink"),
        pytest.param(changed("source: web/small", "source: nothing"), "there is no task 'nothing'", id="source task"),
        pytest.param(changed("source: web/small", "source: web/big"), "has the outputs small, sound", id="source output"),
        pytest.param(changed("source: web/small", "source: web"), "several outputs; write web/small", id="source of several"),
        pytest.param(changed("source: web/small", "source: stills"), "not one video or audio file", id="source of pictures"),
        pytest.param(changed("source: web/small", "source: teaser"), "circle: teaser -> teaser", id="circle"),
        pytest.param(changed("name: sound, raw", "name: small, raw"), "two outputs are called 'small'", id="label"),
        pytest.param(changed("name: sound, raw", "output_bucket: 'a b', name: sound, raw"), "'a b' is no bucket", id="bucket of one output"),
        pytest.param(
            changed("{name: sound, raw_parameter: {container: mp3}}", "{name: other, output_object_path: '{inputName}_transcode_small.{format}'}"),
            "outputs web/small and web/other would both be written to", id="path",
        ),
        pytest.param(changed("{name: sound, raw_parameter", "{definition: 1010, raw_parameter"), "definition 0", id="raw with a template"),
        pytest.param(changed("[{definition: 10, ext_time_offset_set: [0s, 50%]}]", "[]"), "outputs: Tuple should have at least 1", id="no outputs"),
        pytest.param(changed("{name: sound, raw_parameter: {container: mp3}}", "{name: sound, raw_parameter: mp3}"), "raw_parameter: it is a mapping", id="raw of no mapping"),
        pytest.param(changed("[{definition: 10, ext_time", "[{definition: [10], ext_time"), "there is no snapshot_by_time_offset template [10]", id="ID of no number"),
        pytest.param(changed("source: web/small", "source: web/small\n    output: elsewhere"), "tasks.teaser: output", id="place of no mapping"),
        pytest.param(changed("end_time_offset: 1", "end_time_offset: .inf"), "should be a finite number", id="no end"),
        pytest.param(VOD + "created: 2026-13-01\n", "month must be in 1..12", id="no date"),
        pytest.param(changed("name: vod", "notify_key: [secret, {"), "not YAML: line", id="not YAML"),
    ],
)  # fmt: skip
def test_a_mistake_is_reported_with_its_place(text, says):
    """File, field, what was wrong, what is allowed."""
    with pytest.raises(MpsError) as caught:
        parse_workflow(text, TEMPLATES, name="vod.yaml")
    assert str(caught.value).startswith("vod.yaml")
    assert says in str(caught.value)
    assert "secret" not in str(caught.value)


def project_of(folder: Path, **workflows: str | bytes) -> Project:
    """Of a folder with these workflow files."""
    (folder / "workflows").mkdir()
    for name, text in workflows.items():
        content = text if isinstance(text, bytes) else text.encode()
        (folder / "workflows" / f"{name}.yaml").write_bytes(content)
    return Project.load(Settings(project=folder))


def test_one_bad_file_takes_no_other_down(tmp_path):
    """It is a value beside the good ones, and a second file of the same name is bad, too."""
    project = project_of(tmp_path, a=VOD, b="name: [", c=VOD, d=b"\xff")
    bad = project.bad
    assert [workflow.name for workflow in project.workflows] == ["vod"]
    assert [file.path.name for file in bad] == ["b.yaml", "c.yaml", "d.yaml"]
    assert "already has a workflow 'vod'" in bad[1].problem
    assert bad[2].problem.startswith("d.yaml: not YAML")


# -------------------------------------------------------------------------------------------------------- templates


@pytest.mark.parametrize(
    ("definition", "near"), [(100031, "100030 (MP4-HD)"), ("MP4-HDD", "100030 (MP4-HD)"), ("x", "none")], ids=str
)
def test_a_missing_template_is_reported_with_similar_ones(definition, near):
    """Not with all sixty."""
    with pytest.raises(MpsError) as caught:
        TEMPLATES.get("transcode", definition)
    assert near in caught.value.hint
    assert len(caught.value.hint) < 150


@pytest.mark.parametrize(
    "key", sorted((key for key in TEMPLATES.by_name if key[0] in TASKS), key=str), ids=lambda key: f"{key[0]} {key[1]}"
)
def test_every_preset_is_a_valid_output(key):
    """By its ID and by its name."""
    kind, name = key
    extra = {"ext_time_offset_set": ["0s"]} if kind == "snapshot_by_time_offset" else {}
    resolved = TEMPLATES.resolve(kind, {"definition": name, **extra})
    assert TASKS[kind].spec.model_validate(resolved).definition == TEMPLATES.by_name[key].definition


def test_an_admin_s_template_replaces_a_preset(tmp_path):
    """Of the same ID, and beside the others; watermark templates for watermark_set are a kind of their own."""
    (tmp_path / "own.yaml").write_text(
        "kind: transcode\ntemplates: [{definition: 100030, name: ours, parameters: {container: mkv}}]"
    )
    (tmp_path / "marks.yaml").write_text(
        "kind: watermark_template\ntemplates: [{definition: 5, name: logo, parameters: {x_pos: 7px, image_template: {image_content: a.png}}}]"
    )
    templates = Templates.load(tmp_path)
    assert templates.get("transcode", 100030).parameters == {"container": "mkv"}
    assert templates.get("transcode", "MP4-SD").definition == 100020
    resolved = templates.resolve(
        "transcode", {"definition": "ours", "watermark_set": [{"definition": 5, "y_pos": "1px"}]}
    )
    assert resolved["watermark_set"][0] == {
        "definition": 5, "x_pos": "7px", "image_template": {"image_content": "a.png"}, "y_pos": "1px",
    }  # fmt: skip


def test_an_override_changes_only_what_it_names():
    """Mapping by mapping."""
    resolved = TEMPLATES.resolve(
        "transcode", {"definition": 100030, "override_parameter": {"video_template": {"fps": 30}}}
    )
    assert resolved["video_template"] == {"codec": "h264", "fps": 30, "bitrate": 1800, "height": 720}


def test_resolving_what_is_resolved_changes_nothing():
    """A task travels resolved, and is read once more where it is run."""
    once = TEMPLATES.resolve("transcode", {"definition": 100030, "override_parameter": {"container": "mkv"}})
    assert TEMPLATES.resolve("transcode", once) == once


@pytest.mark.parametrize("text", [b"kind: transcoding\ntemplates: []", b"kind: [", b"\xff\xfe", b"- 1", b"[" * 3000])
def test_an_invalid_template_file_is_reported_and_affects_nothing_else(tmp_path, text):
    """With its name; only a workflow that names one of its templates is wrong, too."""
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "own.yaml").write_bytes(text)
    project = project_of(tmp_path, vod=VOD)
    assert project.templates.get("transcode", 100030)
    assert [workflow.name for workflow in project.workflows] == ["vod"]
    assert [file.path.name for file in project.bad] == ["own.yaml"]
    assert project.bad[0].problem


@pytest.mark.parametrize("named", [100030, "house"])
def test_a_template_of_a_file_that_is_wrong_is_not_taken_from_elsewhere(tmp_path, named):
    """A preset of the same ID would make something else in silence; others are as they were."""
    text = "kind: transcode\ntemplates:\n- definition: 100030\n  name: house\n  parameters: {container: mp4, remove_aud"
    (tmp_path / "own.yaml").write_text(text)
    templates = Templates.load(tmp_path)
    with pytest.raises(InvalidConfiguration, match=r"own\.yaml, which is not valid"):
        templates.get("transcode", named)
    assert templates.get("transcode", 100020)
    assert templates.get("sample_snapshot", 10)


def test_two_workflows_cannot_read_one_queue(tmp_path):
    """Each message would reach one of them only."""
    text = changed("bucket: inbox, dir: /in/", "bucket: 's3://media', queue: news")
    project = project_of(tmp_path, a=text, b=text.replace("name: vod", "name: vod2"))
    assert [workflow.name for workflow in project.workflows] == ["vod"]
    assert "b.yaml: trigger.queue: news is read by workflow 'vod'" in project.bad[0].problem


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("news", "https://sqs.eu-central-1.amazonaws.com/111122223333/news", True),
        ("https://sqs.eu-central-1.amazonaws.com/1/news", "https://sqs.eu-central-1.amazonaws.com/2/news", False),
        ("news", "https://sqs.eu-central-1.amazonaws.com/111122223333/other-news", False),
    ],
)
def test_a_queue_is_the_same_by_its_name_and_by_its_url(tmp_path, one, other, alike):
    """Two URLs tell the accounts apart."""
    text = changed("bucket: inbox, dir: /in/", "bucket: 's3://media', queue: QUEUE")
    second = text.replace("name: vod", "name: vod2")
    project = project_of(tmp_path, a=text.replace("QUEUE", f"'{one}'"), b=second.replace("QUEUE", f"'{other}'"))
    assert len(project.bad) == alike
