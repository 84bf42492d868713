"""`mps status --follow` and `mps process --follow`, over a task run that gets on as a test says."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace

import pytest
from click.testing import CliRunner
from deployments import with_ports
from projects import make_project
from rich.console import Console

from mps_dagster.cli import follow as module
from mps_dagster.cli.follow import Bars, bars, rows
from mps_dagster.cli.process import process
from mps_dagster.cli.status import status
from mps_dagster.control.graphql import Dagster
from mps_dagster.control.task_run import RunRecord, SubtaskState, TaskRun, task_run

LONG = f"{'a' * 64}/{'b' * 64}"


def run(status: str, *subtasks: SubtaskState) -> TaskRun:
    """Of the subtasks named."""
    record = RunRecord("0" * 36, "0" * 36, "demo", "demo", status, 1.0, 1.0, 3.0, "inbox", "a.mp4")
    return replace(task_run(record), subtasks=subtasks)


def subtask(name: str, status: str = "PROCESSING", **facts: object) -> SubtaskState:
    task, label = name.split("/")
    return SubtaskState(task=task, id="0", type="transcode", label=label, status=status, **facts)


def at(
    progress: float, *, speed: float | None = 2.345, left_s: float | None = None, name: str = "web/hd"
) -> SubtaskState:
    return subtask(name, progress=progress, speed=speed, left_s=left_s, started_s=10.0)


SUCCEEDED = subtask("web/hd", "SUCCESS", progress=1.0, started_s=10.0, ended_s=85.2)
FAILED = subtask("web/hd", "FAIL", progress=0.4, started_s=10.0, ended_s=40.0, code="InternalError", message="it broke")
STORY = [
    run("QUEUED"),
    run("STARTED", subtask("web/hd"), subtask(LONG)),
    run("STARTED", at(0.01), subtask(LONG)),
    run("STARTED", at(0.05, left_s=90), subtask(LONG)),
    run("STARTED", at(0.45, left_s=80), subtask(LONG)),
    run("STARTED", at(0.46, left_s=79), subtask(LONG)),
    run("SUCCESS", SUCCEEDED, replace(SUCCEEDED, task=LONG.split("/")[0], label=LONG.split("/")[1])),
]


@pytest.fixture
def settings(tmp_path, monkeypatch):
    settings = with_ports(make_project(tmp_path))
    for name, value in {"PROJECT": settings.project, "HOME": settings.home, "UI_PORT": settings.ui_port}.items():
        monkeypatch.setenv(f"MPS_{name}", str(value))
    monkeypatch.setattr(module, "EVERY_S", 0)
    return settings


@pytest.fixture
def story(settings, monkeypatch):
    """What `describe` says, one state after the other; an error is raised."""

    def tell(*states: TaskRun | type[BaseException]) -> None:
        left: Iterator = iter(states)

        def describe(_deployment: object, _task: str) -> TaskRun:
            state = next(left)
            if isinstance(state, TaskRun):
                return state
            raise state

        monkeypatch.setattr(module, "describe", describe)

    return tell


def test_a_pipe_gets_a_line_per_change(story, monkeypatch):
    """Whole ones, however long a name is: when it begins, with each tenth, and when it has ended."""
    monkeypatch.setenv("COLUMNS", "80")
    story(*STORY)
    outcome = CliRunner().invoke(status, ["mps-WorkflowTask-0", "--follow"], catch_exceptions=False)
    assert outcome.stdout.splitlines()[:8] == [
        "total  0 %",
        "web/hd  1 %  2.3×",
        "total  22 %  0:03:45 left",
        "web/hd  45 %  2.3×  0:01:20 left",
        "total  100 %",
        "web/hd  100 %  0:01:15  SUCCESS",
        f"{LONG}  100 %  0:01:15  SUCCESS",
        f"{STORY[-1].task_id}  FINISH (SUCCESS) in 2.0 s  demo  inbox/a.mp4",
    ]
    assert outcome.exit_code == 0


def test_a_terminal_gets_a_bar_each():
    """With percent, speed and time left, in 80 columns."""
    console = Console(width=80, color_system=None, file=io.StringIO())
    with bars(console) as progress:
        view = Bars(progress)
        for state in STORY[:5]:
            view.show(replace(state, subtasks=state.subtasks[:1]))
    lines = [line.split(maxsplit=1) for line in console.file.getvalue().splitlines()]
    assert [(name, rest.strip("━╺╸ ")) for name, rest in lines] == [
        ("total", "45 % 0:01:20 left"), ("web/hd", "45 % 2.3×  0:01:20 left"),
    ]  # fmt: skip


def test_parts_come_before_their_output():
    parts = (at(0.5, name="web/hls p0"), subtask("web/hls p1"))
    [_, *found] = rows(run("STARTED", replace(at(0.25, speed=None, left_s=7, name="web/hls"), parts=parts)))
    assert [(row.name, row.pace, row.status) for row in found] == [
        ("web/hls p0", "2.3×", ""), ("web/hls p1", "", "waiting"), ("web/hls", "0:00:07 left", ""),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("end", "code", "said"),
    [
        pytest.param(run("SUCCESS", SUCCEEDED), 0, "SUCCESS", id="success"),
        pytest.param(run("FAILURE", FAILED), 1, "it broke", id="failure"),
    ],
)
def test_process_follows_what_it_has_launched(story, monkeypatch, end, code, said):
    """The TaskId first, and the exit code of `mps status`."""
    launched = []
    monkeypatch.setattr(Dagster, "ask", lambda *_: {})
    monkeypatch.setitem(
        process.callback.__globals__,
        "process_media",
        lambda _, source, tasks, priority: launched.append((source["key"], tasks, priority)) or "mps-WorkflowTask-1",
    )
    story(run("STARTED", at(0.5)), end)
    arguments = ["inbox/a.mp4", "--tasks", "{transcode: [{definition: 100010}]}", "--priority", "3", "--follow"]
    outcome = CliRunner().invoke(process, arguments, catch_exceptions=False)
    assert launched == [("a.mp4", {"transcode": [{"definition": 100010}]}, 3)]
    assert outcome.stdout.splitlines()[0] == "mps-WorkflowTask-1"
    assert (outcome.exit_code, said in outcome.stdout) == (code, True)


def test_ctrl_c_leaves_the_task_running(story):
    """And says how to go on."""
    story(run("STARTED", at(0.5)), KeyboardInterrupt)
    outcome = CliRunner().invoke(status, ["mps-WorkflowTask-1", "--follow"], catch_exceptions=False)
    assert (outcome.exit_code, outcome.stderr) == (
        130, "the task goes on; mps status mps-WorkflowTask-1 --follow shows it again\n",
    )  # fmt: skip
