"""A workflow and its tasks may have any name: none meets another's, one of ours or one that Dagster keeps."""

from __future__ import annotations

import itertools

import dagster as dg
import pytest
from click.testing import CliRunner
from dagster._core.definitions.utils import DISALLOWED_NAMES
from hypothesis import example, given, settings
from hypothesis import strategies as st
from projects import make_project

from mps_dagster.cli.workflows import validate
from mps_dagster.control import tags
from mps_dagster.orchestration import build, upload_sensor
from mps_dagster.orchestration.build import build_project
from mps_dagster.tasks import TASKS
from mps_dagster.workflow.naming import StepKey, job_name, node_name, op_name

from .conftest import furnished

OURS = [*TASKS, "source", "break_down", "subtask", "assemble", "plan_and_launch", "remove_old", "worker", "default"]
PARTS = st.sampled_from(["a", "b", "web", "source", "uploads", "u", "_", "__", "___", "A"])
NAMES = (
    st.sampled_from(sorted(DISALLOWED_NAMES))
    | st.sampled_from(OURS)
    | st.lists(PARTS, min_size=1, max_size=4).map("".join)
)
TASK_NAMES = NAMES.filter(lambda name: name[0] != "_" and name != "source")
WORKFLOW_NAMES = NAMES.filter(lambda name: name[0] != "_")


def written(name: str, *tasks: str, more: str = "") -> str:
    output = "{name: a, output_object_path: 'TASK/{inputName}', video_template: {height: 90}}"
    lines = [
        f"  {task!r}: {{type: transcode, outputs: [{output.replace('TASK', task)}]}}" for task in tasks or ("web",)
    ]
    place = f"trigger: {{bucket: inbox, dir: /{name}/}}\noutput: {{bucket: outputs}}"
    return "\n".join([f"name: {name!r}", place, more, "tasks:", *lines])


def project_of(folder, *workflows: str):
    return make_project(folder, **{f"f{number}": text for number, text in enumerate(workflows)})


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@example("vod", "vod__web", "web", "b")
@example("a", "a__b", "b__c", "c")
@example("a", "a__b", "b__source", "c")
@example("a", "a_", "b", "b")
@example("my__flow", "_my_u_uflow"[1:], "web", "web")
@example("subtask", "in", "True", "dict")
@given(WORKFLOW_NAMES, WORKFLOW_NAMES, TASK_NAMES, TASK_NAMES)
def test_any_two_workflows_load_beside_each_other(tmp_path_factory, one, other, task, more):
    """And each step's key tells the workflow's task that it is of."""
    named = {one: {task, more}, other: {more}}
    texts = [written(name, *sorted(tasks)) for name, tasks in named.items()]
    definitions, project = build_project(project_of(tmp_path_factory.mktemp("p"), *texts))
    assert ([workflow.name for workflow in project.workflows], project.bad) == (list(named), ())
    repository = definitions.get_repository_def()
    for name, tasks in named.items():
        job = repository.get_job(job_name(name))
        nodes = {node.name for node in job.graph.nodes}
        assert job.tags[tags.WORKFLOW] == name
        assert nodes == {node_name(name, "source"), *(node_name(name, task_name) for task_name in tasks)}
        read = {StepKey.parse(f"{node}.subtask[0_a]").task(name) for node in nodes}
        assert read == {"source", *tasks}


@given(st.lists(st.tuples(WORKFLOW_NAMES, TASK_NAMES), min_size=2, max_size=6, unique=True))
def test_names_of_jobs_and_of_their_parts_are_all_different(pairs):
    """Dagster has one set of names for jobs, graphs and ops."""
    jobs = {job_name(workflow) for workflow, _ in pairs}
    assert len(jobs) == len({workflow for workflow, _ in pairs})
    nodes = {node_name(workflow, task) for workflow, task in pairs}
    assert len(nodes) == len(pairs)
    brought = {op_name(name) for name in OURS}
    assert not any(one & other for one, other in itertools.combinations((jobs, nodes, brought), 2))


@pytest.mark.parametrize(
    ("text", "step", "task"),
    [
        ("vod__web.subtask[0_100030]", StepKey("vod__web", "subtask", "0_100030"), "web"),
        ("vod__source", StepKey("", "vod__source"), ""),
        ("transcode.break_down", StepKey("transcode", "break_down"), "transcode"),
        ("vod__stills__b.assemble", StepKey("vod__stills__b", "assemble"), "stills__b"),
    ],
)
def test_a_step_s_key_is_read_as_it_is_written(text, step, task):
    assert (StepKey.parse(text), str(step), step.task("vod")) == (step, text, task)


def test_runs_of_a_version_that_called_every_job_as_its_workflow_are_still_read():
    assert StepKey.parse("my__flow__web.subtask[0_a]").task("my__flow") == "web"
    assert StepKey.parse(f"{node_name('my__flow', 'web')}.subtask[0_a]").task("my__flow") == "web"


@pytest.mark.parametrize("name", ["transcode", "my__flow", "in"])
def test_a_workflow_of_any_name_runs(tmp_path, instance, clips, name):
    """From the sensor's request to the outputs."""
    house = furnished(project_of(tmp_path, written(name)), instance)
    house.upload(clips.video(), f"{name}/clip.mp4")
    [request] = house.tick("uploads_inbox").run_requests
    instance.add_dynamic_partitions(f"{name}_uploads", [request.partition_key])
    job = house.defs.resolve_job_def(job_name(name))
    result = job.execute_in_process(
        run_config=request.run_config, partition_key=request.partition_key, instance=instance, raise_on_error=False
    )
    assert result.success
    assert [info.key for info in house.buckets.get("outputs").list(f"{name}/")] == [f"{name}/web/clip.mp4"]


def test_a_workflow_that_dagster_does_not_take_takes_no_other_one_down(tmp_path, monkeypatch):
    """For any reason: its file is reported in the UI and by `mps workflows validate`."""
    for module in (build, upload_sensor):
        monkeypatch.setattr(module, "job_name", lambda name: op_name("subtask") if name in "bd" else name)
    home = project_of(tmp_path, *(written(name) for name in "abcde"))
    definitions, project = build_project(home)
    assert [workflow.name for workflow in project.workflows] == ["a", "c", "e"]
    assert [file.path.name for file in project.bad] == ["f1.yaml", "f3.yaml"]
    dg.Definitions.validate_loadable(definitions)
    names = {sensor.name for sensor in definitions.get_repository_def().sensor_defs}
    assert names >= {"a_uploads", "c_uploads", "e_uploads", "workflows_f1_is_not_valid", "workflows_f3_is_not_valid"}
    monkeypatch.setenv("MPS_PROJECT", str(home.project))
    outcome = CliRunner().invoke(validate, catch_exceptions=False)
    assert outcome.exit_code == 1
    assert "a: valid\nc: valid\ne: valid\nf1.yaml: Dagster does not take this workflow: " in outcome.output
    assert "name '_subtask'" in outcome.output


def test_two_files_of_one_name_and_files_of_any_name_load(tmp_path):
    """The first workflow runs, the second file is reported; a file's own name may be anything, too."""
    home = project_of(tmp_path, written("vod"), written("vod"))
    for stem in ("a.b", "_workflows_a_b", "é", "ü"):
        (home.workflows_dir / f"{stem}.yaml").write_text("no")
    definitions, project = build_project(home)
    assert ([workflow.name for workflow in project.workflows], len(project.bad)) == (["vod"], 5)
    dg.Definitions.validate_loadable(definitions)
