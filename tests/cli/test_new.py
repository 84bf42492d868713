"""`mps init`, `mps new workflow` and `mps workflows validate --watch`."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from deployments import MPS
from projects import VOD

from mps_dagster.cli.init import init
from mps_dagster.cli.new import new
from mps_dagster.errors import InvalidInput, MpsError
from mps_dagster.settings import Settings
from mps_dagster.workflow.project import Project

Invoke = Callable[..., Result]


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A new one, in which the commands run. Nothing listens on its port."""
    monkeypatch.chdir(tmp_path)
    for name, value in {"MPS_PROJECT": str(tmp_path), "MPS_HOME": str(tmp_path / ".mps"), "MPS_UI_PORT": "9"}.items():
        monkeypatch.setenv(name, value)
    assert CliRunner().invoke(init).exit_code == 0
    return tmp_path


def new_workflow(*options: str, answers: str | None = None) -> Result:
    return CliRunner().invoke(new, ["workflow", *options], input=answers)


def test_init_says_what_to_do_next(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    output = CliRunner().invoke(init, ["my media"]).output
    assert output.endswith("next:  cd 'my media' && mps new workflow\n       mps up\n")


def test_init_says_what_it_kept(project):
    (project / "compose.yaml").write_text("services: {}")
    output = CliRunner().invoke(init).output
    assert "nothing was missing" in output
    assert "not as this version writes them: compose.yaml\n" in output
    assert "written" not in output


def test_defaults_need_no_terminal(project):
    """The answer says into which folder a file has to go, and the folder is there."""
    output = new_workflow("--yes").output
    [workflow] = Project.load(Settings()).workflows
    assert (workflow.name, [*workflow.tasks]) == ("vod", ["transcode", "snapshot_by_time_offset"])
    inbox = project / ".mps" / "buckets" / "inbox" / "vod"
    assert f"mps up, then drop a video into {inbox}" in output
    assert inbox.is_dir()


@pytest.mark.usefixtures("project")
def test_every_answer_is_an_option():
    result = new_workflow(
        "web", "--bucket", "s3://my-uploads", "--dir", "/a/", "--task", "transcode:100030,HLS-SD", "--task", "image_sprite",
        "--output-bucket", "s3://my-outputs", "--output-dir", "/b/", "--notify", "sqs:done",
    )  # fmt: skip
    assert result.exit_code == 0, repr(result.exception)
    [workflow] = Project.load(Settings()).workflows
    assert (workflow.trigger.bucket, workflow.trigger.dir) == ("s3://my-uploads", "/a/")
    assert (workflow.output.bucket, workflow.output.dir) == ("s3://my-outputs", "/b/")
    assert {task.type: [spec.definition for spec in task.specs] for task in workflow.tasks.values()} == {
        "transcode": [100030, 100220], "image_sprite": [10],
    }  # fmt: skip
    assert workflow.notify[0].address == "aws_sqs:/done"
    assert "drop a video into s3://my-uploads/a/" in result.output


@pytest.mark.usefixtures("project")
def test_a_wrong_answer_is_asked_again():
    answers = ["no name", "web", "", "", "transcod", "transcode", "1", "", "", "", "mail:me", "none"]
    result = new_workflow(answers="\n".join(answers) + "\n")
    assert "'no name' is no name of a workflow" in result.output
    assert "there is no task type 'transcod'" in result.output
    assert "there is no transcode template 1" in result.output
    assert "'mail:me' is no sink" in result.output
    assert result.exit_code == 0, repr(result.exception)
    [workflow] = Project.load(Settings()).workflows
    assert (workflow.name, workflow.notify) == ("web", ())


@pytest.mark.usefixtures("project")
def test_a_name_is_not_used_twice():
    assert new_workflow("web", "--yes").exit_code == 0
    error = new_workflow("web", "--yes").exception
    assert isinstance(error, InvalidInput)
    assert "already" in str(error)


@pytest.mark.usefixtures("project")
def test_a_task_type_is_named_once():
    """The second one would replace the first."""
    error = new_workflow("--task", "transcode:100030", "--task", "transcode:100220", "--yes").exception
    assert "transcode:100030,100220" in error.hint
    assert not Project.load(Settings()).workflows


def test_a_folder_without_a_project_gets_no_workflow(tmp_path, monkeypatch):
    monkeypatch.setenv("MPS_PROJECT", str(tmp_path))
    error = new_workflow("--yes").exception
    assert isinstance(error, MpsError)
    assert "mps init" in error.hint
    assert not [*tmp_path.iterdir()]


@pytest.mark.slow
def test_watching_validates_after_each_change(project):
    """Of a workflow, then of a template that it names; reading the files is no change."""
    path = project / "workflows" / "vod.yaml"
    path.write_text(VOD)
    argv = [MPS, "workflows", "validate", "--watch"]
    # A shell that runs the tests in the background lets them ignore the interrupt.
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    environment = dict(os.environ)
    with subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, text=True, preexec_fn=heard) as process:
        try:
            assert until_waiting(process) == ["vod: valid"]
            path.write_text(VOD.replace("height: 90", "heigth: 90"))
            [problem] = until_waiting(process)
            assert "heigth" in problem
            path.write_text(VOD.replace("definition: 10", "definition: 7"))
            assert "there is no snapshot_by_time_offset template 7" in until_waiting(process)[0]
            own = "kind: snapshot_by_time_offset\ntemplates: [{definition: 7, name: own, parameters: {format: png}}]"
            (project / "templates" / "own.yaml").write_text(own)
            assert until_waiting(process) == ["vod: valid"]
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 0
        assert process.stdout.read().strip() == ""


def until_waiting(process: subprocess.Popen[str]) -> list[str]:
    """What is printed before it waits again, without the hints."""
    lines = []
    while not (line := process.stdout.readline()).startswith("waiting"):
        assert line, "it ended"
        lines.append(line.strip())
    return [line for line in lines if line and not line.startswith("hint")]
