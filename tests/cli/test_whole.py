"""The whole deployment as a person uses it: `mps up` in one process, the command line in others, ffmpeg for real."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from projects import VOD, command_lines, make_project

from mps_dagster.api.processing import Processing
from mps_dagster.execution.task_run import TaskRun
from mps_dagster.settings import Settings

pytestmark = pytest.mark.xdist_group("services")

MPS = str(Path(sys.executable).parent / "mps")
SLOW = """
name: slow
trigger: {bucket: slow}
output: {bucket: outputs, dir: /slow/}
notify: [{type: local, queue: aborted}]
tasks:
  web:
    type: transcode
    outputs: [{name: slow, video_template: {codec: av1, effort: quality, width: 3840, height: 2160, bitrate: 9000}}]
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> Settings:
    broken = "name: broken\ntrigger: {bucket: inbox}\ntasks: {}"
    made = make_project(tmp_path_factory.mktemp("whole"), vod=VOD, slow=SLOW, broken=broken)
    return made.model_copy(update={"ui_port": free_port(), "files_port": free_port()})


@pytest.fixture(scope="module")
def environment(settings) -> dict[str, str]:
    return {
        **os.environ, "MPS_PROJECT": str(settings.project), "MPS_HOME": str(settings.home),
        "MPS_UI_PORT": str(settings.ui_port), "MPS_FILES_PORT": str(settings.files_port), "MPS_SETTLE_S": "0.5",
    }  # fmt: skip


@pytest.fixture(scope="module")
def up(settings, environment) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([MPS, "up"], env=environment, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if "Ctrl-C" in line:
                break
        yield process
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
    log = (settings.home / "logs" / "dagster.log").read_text()
    assert not leftovers(settings), log[-2000:]


def leftovers(settings: Settings) -> list[str]:
    """Processes that still speak of this home."""
    return [line for line in command_lines() if str(settings.home) in line and "pytest" not in line]


@pytest.fixture
def mps(up, environment) -> Callable[..., str]:
    """Run a command; return what it printed. Fails with what it said."""

    def mps(*args: str, returncode: int = 0) -> str:
        done = subprocess.run([MPS, *args], env=environment, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == returncode, done.stdout + done.stderr
        return done.stdout + done.stderr

    return mps


def wait_for(processing: Processing, key: str, *, until: Callable[[TaskRun], bool], timeout_s: float = 120) -> TaskRun:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        for run in processing.tasks(limit=50):
            if run.key == key and until(full := processing.describe(run.task_id)):
                return full
        time.sleep(0.5)
    raise AssertionError(f"nothing came of {key}: {list(processing.tasks(limit=50))}")


def ended(run: TaskRun) -> bool:
    return run.state == "FINISH"


def test_a_dropped_file_is_found_processed_and_announced(up, mps, settings, clips):
    """Sensor, daemon, run, outputs, notification; and the picture in the UI's metadata is served."""
    processing = Processing.of(settings)
    processing.buckets.get("inbox").publish(clips.video(), "in/dropped.mp4")
    run = wait_for(processing, "in/dropped.mp4", until=ended)
    assert (run.outcome, run.failed) == ("SUCCESS", False)
    assert [subtask.status for subtask in run.subtasks] == ["SUCCESS"] * 4
    message = json.loads(mps("notifications", "receive", "--wait", "60", "--acknowledge"))
    event = message["event"]["WorkflowTaskEvent"]
    assert (event["TaskId"], event["Status"]) == (run.task_id, "FINISH")
    web = next(subtask.result for subtask in run.subtasks if subtask.label == "small")
    picture = requests.get(f"{settings.files_url}/{web.bucket}/{web.preview_key}", timeout=5)
    assert (picture.status_code, picture.headers["content-type"]) == (200, "image/jpeg")


def test_what_was_made_of_what_can_be_asked(up, mps, settings, clips):
    """From the source to its outputs, and from one of them back; also when the source is gone."""
    processing = Processing.of(settings)
    processing.buckets.get("inbox").publish(clips.video(), "in/traced.mp4")
    run = wait_for(processing, "in/traced.mp4", until=ended)
    told = " ".join(mps("lineage", "inbox/in/traced.mp4").split())
    assert "stands" in told
    assert "teaser" in told
    back = mps("lineage", "outputs/vod/traced_snapshotByTimeOffset_10_1.jpg")
    assert "was made of inbox/in/traced.mp4" in back
    assert run.task_id in back
    assert "command   ffmpeg" in back
    processing.buckets.get("inbox").delete("in/traced.mp4")
    assert "gone" in mps("lineage", "inbox/in/traced.mp4")
    assert "nothing is known" in mps("lineage", "inbox/in/never.mp4", returncode=1)


def test_a_changed_workflow_is_made_up_for(up, mps, settings, clips):
    """The plan names the tasks, the backfill makes just these, by the file as it is now; by hand and by the schedule's job."""
    processing = Processing.of(settings)
    processing.buckets.get("inbox").publish(clips.video(), "in/again.mp4")
    wait_for(processing, "in/again.mp4", until=ended)
    plan = ("backfill", "plan", "vod", "--prefix", "in/again")
    assert "0 sources" in mps(*plan)
    path = settings.workflows_dir / "vod.yaml"
    path.write_text(path.read_text().replace("width: 128", "width: 96"))
    assert "1 sources" in mps(*plan, "--csv", str(settings.home / "plan.csv"))
    assert ",stale,teaser," in (settings.home / "plan.csv").read_text()
    assert "/runs/b/" in mps("backfill", "run", "vod", "--prefix", "in/again", "--yes")
    wait_until(lambda: "0 sources" in mps(*plan, "--status", "stale", "--status", "running"))
    gif = processing.buckets.get("outputs").read("vod/again_transcode_small_animatedGraphic_teaser.gif")
    assert int.from_bytes(gif[6:8], "little") == 96
    path.write_text(path.read_text().replace("width: 96", "width: 64"))
    config = {"ops": {"plan_and_launch": {"config": {"workflow": "vod"}}}}
    processing.dagster.launch("backfill", config, {})
    wait_until(lambda: "1 sources" in mps(*plan, "--status", "running"))
    wait_until(lambda: "0 sources" in mps(*plan, "--status", "stale", "--status", "running"))


def wait_until(done: Callable[[], bool], timeout_s: float = 150) -> None:
    deadline = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(1)


def test_a_file_that_is_still_being_written_is_taken_when_it_is_whole(up, settings, clips):
    """One run, of the whole file."""
    processing = Processing.of(settings)
    content = clips.video(4).read_bytes()
    path = settings.buckets_dir / "inbox" / "in" / "slowly.mp4"
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as file:
        for start in range(0, len(content), len(content) // 8 + 1):
            file.write(content[start : start + len(content) // 8 + 1])
            file.flush()
            time.sleep(1.0)
    run = wait_for(processing, "in/slowly.mp4", until=ended)
    assert run.outcome == "SUCCESS"
    assert [other.key for other in processing.tasks(limit=50)].count("in/slowly.mp4") == 1


def test_process_puts_a_file_where_its_workflow_looks_and_runs_it_once(mps, settings, clips, tmp_path):
    """The sensor sees that this upload has its run."""
    (tmp_path / "by hand.mp4").write_bytes(clips.video().read_bytes())
    task = mps("process", str(tmp_path / "by hand.mp4"), "--workflow", "vod").strip()
    shown = mps("status", task, "--follow")
    assert "SUCCESS" in shown
    time.sleep(12)
    runs = [run for run in Processing.of(settings).tasks(limit=50) if run.key == "in/by hand.mp4"]
    assert [run.task_id for run in runs] == [task]
    assert "is there already" in mps("process", str(tmp_path / "by hand.mp4"), "--workflow", "vod", returncode=1)


def test_process_takes_tasks_of_any_kind_for_any_object(mps, settings, clips, tmp_path):
    """Given as YAML or JSON; what is wrong in them is told before anything is launched."""
    (tmp_path / "clip.mp4").write_bytes(clips.video().read_bytes())
    mark = {"name": "w", "watermark_set": [{"type": "text", "text_content": "字"}]}
    tasks = json.dumps({"sample_snapshot": [{"definition": 10, "height": 90}], "watermark": [mark]})
    task = mps("process", str(tmp_path / "clip.mp4"), "--tasks", tasks, "--output", "outputs/hand").strip()
    assert "SUCCESS" in mps("status", task, "--follow")
    keys = [info.key for info in Processing.of(settings).buckets.get("outputs").list("hand/")]
    assert "hand/clip_watermark_w.mp4" in keys
    wrong = mps("process", str(tmp_path / "clip.mp4"), "--tasks", "{transcode: [{container: mp5}]}", returncode=1)
    assert "container" in wrong
    assert task in mps("tasks")


def test_a_bad_source_ends_with_mps_s_code(mps, settings, clips, tmp_path):
    """And `mps status` says so by its exit code, too."""
    (tmp_path / "notes.mp4").write_text("no film")
    task = mps("process", str(tmp_path / "notes.mp4"), "--tasks", "{sample_snapshot: [{definition: 10}]}").strip()
    deadline = time.monotonic() + 90
    while Processing.of(settings).describe(task).state != "FINISH" and time.monotonic() < deadline:
        time.sleep(0.5)
    assert "SourceFileError.ContentMalformed" in mps("status", task, returncode=1)


def test_an_aborted_task_ends_its_ffmpeg_and_is_announced(mps, settings, clips):
    """Nothing goes on encoding for nobody."""
    processing = Processing.of(settings)
    (settings.buckets_dir / "slow").mkdir(exist_ok=True)
    processing.buckets.get("slow").publish(clips.video(4), "clip.mp4")
    run = wait_for(processing, "clip.mp4", until=lambda run: any(subtask.progress > 0 for subtask in run.subtasks))
    mps("abort", run.task_id)
    assert wait_for(processing, "clip.mp4", until=ended).outcome == "CANCELED"
    time.sleep(1)
    assert not any("libsvtav1" in line for line in command_lines())
    event = json.loads(mps("notifications", "receive", "--queue", "aborted", "--wait", "60"))["event"]
    assert event["WorkflowTaskEvent"]["Message"] == "the task was aborted"


def test_a_file_that_is_no_workflow_is_told(mps):
    """By name, field and reason; the others are valid."""
    said = mps("workflows", "validate", returncode=1)
    assert "vod: valid" in said
    assert "broken.yaml: tasks" in said


def test_templates_are_listed_by_id_and_name(mps):
    """Presets included."""
    assert "100030" in mps("templates", "--kind", "transcode")
    assert "height: 720" in mps("templates", "MP4-HD")


def test_a_second_deployment_on_the_same_port_is_refused(mps):
    """Instead of two that answer in turns."""
    assert "is taken" in mps("up", returncode=1)
