"""What is said of tasks in a terminal, and in a pipe."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from click.testing import CliRunner
from rich.console import Console

from mps_dagster.cli.show import outputs_table, summary, whole_lines
from mps_dagster.cli.tasks import tasks
from mps_dagster.control.graphql import Dagster
from mps_dagster.control.steps import StepRecord
from mps_dagster.control.task_run import RunRecord, SubtaskState, TaskRun, task_run
from mps_dagster.streaming.segments import Segments
from mps_dagster.tasks.result import OutputObject, SegmentSet, SubtaskResult

DEMO = {
    "web/100010": ["demo-093015_transcode_100010.mp4"],
    "web/opening": ["demo-093015_transcode_opening.webm"],
    "samples/10": [f"demo-093015_sampleSnapshot_10_{number}.jpg" for number in range(20)],
    "scrubbing/sprite": ["demo-093015_imageSprite_sprite_0.jpg", "demo-093015_imageSprite_sprite.vtt"],
    "preview/preview": ["demo-093015_transcode_100010_animatedGraphics_preview.gif"],
}
SHOWN = [path for paths in DEMO.values() for path in (paths if len(paths) < 5 else [*paths[:2], *paths[-2:]])]


def state(**outputs: list[str]) -> TaskRun:
    record = RunRecord("0" * 36, "0" * 36, "demo", "demo", "SUCCESS", 1.0, 1.0, 3.0, "inbox", "demo-093015.mp4")
    subtasks = []
    for name, paths in outputs.items():
        task, label = name.split("/")
        objects = tuple(
            OutputObject(
                key=f"demo-093015.mp4/{path}",
                role="main",
                size_bytes=12_345_678,
                etag="",
                md5="",
                width=1280,
                height=720,
            )
            for path in paths
        )
        result = SubtaskResult(
            id="0", task=task, type="transcode", label=label, bucket="outputs", source_uri="", spec={}, outputs=objects
        )
        subtasks.append(SubtaskState(task=task, id="0", type="transcode", label=label, status="SUCCESS", result=result))
    run = task_run(record)
    return TaskRun(**{name: getattr(run, name) for name in run.__dataclass_fields__} | {"subtasks": tuple(subtasks)})


def printed(run: TaskRun, console: Console) -> list[str]:
    console.print(outputs_table(run))
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [64, 80, 120])
def test_no_name_is_cut_at_80_columns(width):
    """Of an output or of its path; what does not fit beside the rest has a line of its own."""
    lines = printed(state(**DEMO), Console(width=width, file=io.StringIO()))
    assert max(map(len, lines)) <= width
    assert lines[0] == "outputs/demo-093015.mp4/"
    assert [line.strip() for line in lines if line.strip() in DEMO] == list(DEMO)
    assert [path for path in SHOWN if not any(line.endswith(f" {path}") for line in lines)] == []


@pytest.mark.parametrize(("count", "lines"), [(1, 1), (5, 5), (6, 5), (20, 5)])
def test_a_long_series_says_how_many_are_left_out(count, lines):
    """Else a series with a hole looks like one that was made so."""
    run = state(**{"samples/10": [f"demo_{number}.jpg" for number in range(count)]})
    shown = printed(run, Console(width=80, file=io.StringIO()))[2:]
    assert len(shown) == lines
    assert [line.strip() for line in shown if "more" in line] == ([f"… {count - 4} more"] if count > 5 else [])
    assert (shown[0].endswith("demo_0.jpg"), shown[-1].endswith(f"demo_{count - 1}.jpg")) == (True, True)


REFUSED = {
    "code": "InvalidInput.TaskDuplicated",
    "number": 40000,
    "message": "it is b.mov's",
    "hint": "use {inputFormat}",
}


def test_a_failure_says_what_may_be_done_about_it():
    """Whether it is one output's or the source's; in the words of the error."""
    planned = {
        "id": "0",
        "task": "web",
        "type": "transcode",
        "label": "10",
        "spec": {},
        "bucket": "outputs",
        "paths": {},
    }
    source = StepRecord("vod__source", "success", 1.0, 2.0, {})
    plan = StepRecord("vod__web.break_down", "success", 1.0, 2.0, {"subtasks": [planned]})
    output = StepRecord("vod__web.subtask[0]", "failure", 1.0, 2.0, REFUSED)
    record = RunRecord("0" * 36, "0" * 36, "vod", "vod", "FAILURE", 1.0, 1.0, 3.0, "inbox", "a.mp4")
    failed = task_run(replace(record, steps=(source, plan, output)))
    assert printed(failed, Console(width=80, file=io.StringIO())) == [
        "web/10", "  FAIL InvalidInput.TaskDuplicated it is b.mov's", "  hint: use {inputFormat}",
    ]  # fmt: skip
    of_the_source = task_run(replace(record, steps=(replace(source, status="failure", metadata=REFUSED),)))
    assert summary(of_the_source).endswith("it is b.mov's[/]\nhint: use {inputFormat}")
    assert "hint" not in summary(failed)


def test_segments_are_one_line():
    """A film has thousands."""
    run = state(**{"web/hls": ["film.m3u8"]})
    names = Segments(pattern="segment_%05d.ts", key_pattern="demo-093015.mp4/film_{number}.ts", first=0, step=1, width=1,
                     placeholder="0", playlist="out.m3u8")  # fmt: skip
    segments = SegmentSet(names=names, count=1800, size_bytes=9_000_000, digest="")
    subtask = replace(run.subtasks[0], result=run.subtasks[0].result.model_copy(update={"segments": segments}))
    lines = printed(replace(run, subtasks=(subtask,)), Console(width=80, file=io.StringIO()))
    assert lines[-1].split() == ["9,000,000", "film_{number}.ts", "×", "1800"]


@pytest.mark.parametrize("columns", ["20", "80"])
def test_a_pipe_gets_each_output_on_one_line(monkeypatch, columns):
    """However long its name is, and whatever the terminal has: it is read by programs."""
    monkeypatch.setenv("COLUMNS", columns)
    long = "n" * 230 + " and more.mp4"
    console = whole_lines()
    console.file = io.StringIO()
    lines = printed(state(**{"web/a": [long, "b.mp4"]}), console)
    assert [line.split(None, 4)[-1] for line in lines[2:]] == [long, "b.mp4"]


def test_a_terminal_is_given_a_long_name_whole():
    """It breaks the line itself, so that the name can be copied."""
    console = Console(soft_wrap=True, width=80, force_terminal=True, color_system=None, file=io.StringIO())
    long = "n" * 230 + ".mp4"
    assert f"    {long}" in printed(state(**{"web/a": [long, "b.mp4"]}), console)


def test_an_inspection_is_told_in_one_line():
    """Before the path of its report."""
    run = state(**{"check/10": ["report.json"]})
    verdict = {
        "passed": False, "checks": ["black"], "failed_checks": ["black"], "video_stream": 0, "audio_streams": [],
        "findings": [{"check": "black", "start_s": 1.0, "end_s": 2.0, "confidence": 50, "message": ""}],
    }  # fmt: skip
    [subtask] = run.subtasks
    result = subtask.result.model_copy(update={"facts": {"inspection": verdict}})
    run = replace(run, subtasks=(replace(subtask, result=result),))
    console = Console(soft_wrap=True, width=80, file=io.StringIO())
    assert printed(run, console)[:3] == ["outputs/demo-093015.mp4/", "check/10", "  black 1.00–2.00 s"]


@pytest.mark.parametrize(
    ("count", "message"), [(20, ""), (153, "these are the newest 20 of 153 runs; --limit shows more\n")]
)
def test_the_list_of_tasks_says_when_there_are_more(monkeypatch, count, message):
    """Beside the tasks, which a program may read."""
    queries = []
    monkeypatch.setitem(tasks.callback.__globals__, "list_tasks", lambda *_, limit, statuses: iter([state()] * limit))
    monkeypatch.setattr(Dagster, "count", lambda _, filters: queries.append(filters) or count)
    outcome = CliRunner().invoke(tasks, ["--status", "failed"], catch_exceptions=False)
    assert (outcome.stderr, len(outcome.stdout.splitlines())) == (message, 20)
    assert queries == [{"statuses": ["FAILURE"]}]
