"""The whole deployment as a person uses it: `mps up` in one process, the command line in others, ffmpeg for real."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
import requests
from click.testing import CliRunner
from deployments import (
    MPS,
    SECRET_ID,
    SECRET_KEY,
    encoders,
    environment_of,
    leftovers,
    official_sdk,
    start,
    wait_until,
    with_ports,
)
from players.programs import FLAGS, browser, why_not
from playwright.sync_api import Page, expect, sync_playwright
from projects import ROOT, VOD, make_project
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException

from mps_dagster.cli import mps as program
from mps_dagster.control.deployment import Deployment
from mps_dagster.control.graphql import LOCATION
from mps_dagster.control.health import examine
from mps_dagster.control.task_run import TaskRun, run_id_of
from mps_dagster.control.tasks import describe, list_tasks
from mps_dagster.settings import Settings
from mps_dagster.workflow.naming import sensor_name

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("services")]

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

SAID = "query($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events { ... on EngineEvent { message } } } } }"


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> Settings:
    broken = "name: broken\ntrigger: {bucket: inbox}\ntasks: {}"
    return with_ports(make_project(tmp_path_factory.mktemp("whole"), vod=VOD, slow=SLOW, broken=broken))


@pytest.fixture(scope="module")
def up(settings) -> Iterator[subprocess.Popen[str]]:
    with start(settings) as process:
        yield process
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
    logs = "".join((settings.home / "logs" / f"{name}.log").read_text()[-1000:] for name in ("code", "daemon", "web"))
    assert not leftovers(settings), logs


@pytest.fixture
def mps(up, settings) -> Callable[..., str]:
    """Run a command; return what it printed. Fails with what it said."""

    def mps(*args: str, returncode: int = 0) -> str:
        command, environment = [MPS, *args], environment_of(settings)
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == returncode, done.stdout + done.stderr
        return done.stdout + done.stderr

    return mps


@pytest.fixture
def mps_here(up, settings) -> Callable[..., str]:
    """The same in this process, for commands that are run over and over: some import for more than a second."""

    def mps_here(*args: str) -> str:
        return CliRunner(env=environment_of(settings)).invoke(program, args, catch_exceptions=False).stdout

    return mps_here


def wait_for(deployment: Deployment, key: str, *, until: Callable[[TaskRun], bool], timeout_s: float = 120) -> TaskRun:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        for run in list_tasks(deployment, limit=50):
            if run.key == key and until(full := describe(deployment, run.task_id)):
                return full
        time.sleep(0.2)
    raise AssertionError(f"nothing came of {key}: {list(list_tasks(deployment, limit=50))}")


def ended(run: TaskRun) -> bool:
    return run.state == "FINISH"


@pytest.fixture(scope="module")
def dropped(up, settings, clips) -> TaskRun:
    """What became of an upload that a sensor found."""
    deployment = Deployment.of(settings)
    deployment.buckets.get("inbox").publish(clips.video(), "in/dropped.mp4")
    return wait_for(deployment, "in/dropped.mp4", until=ended)


def test_a_dropped_file_is_found_processed_and_announced(mps, settings, dropped):
    """Sensor, daemon, run, outputs, notification; and the picture in the UI's metadata is served."""
    run = dropped
    assert (run.outcome, run.failed) == ("SUCCESS", False)
    assert [subtask.status for subtask in run.subtasks] == ["SUCCESS"] * 4
    message = json.loads(mps("notifications", "receive", "--wait", "60", "--acknowledge"))
    event = message["event"]["WorkflowTaskEvent"]
    assert (event["TaskId"], event["Status"]) == (run.task_id, "FINISH")
    web = next(subtask.result for subtask in run.subtasks if subtask.label == "small")
    picture = requests.get(f"{settings.files_url}/{web.bucket}/{web.preview_key}", timeout=30)
    assert (picture.status_code, picture.headers["content-type"]) == (200, "image/jpeg")


@pytest.fixture
def tab(up, mps) -> Iterator[Page]:
    """A browser that the link of `mps pages` has signed in."""
    if problem := why_not():
        pytest.skip(problem)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser(), args=list(FLAGS))
        tab = chromium.new_page()
        tab.goto(mps("pages").strip())
        yield tab
        chromium.close()


def test_a_file_dropped_on_the_page_is_processed_and_plays_there(tab, clips, tmp_path):
    tab.get_by_label("It is processed by").select_option("vod")
    tab.get_by_label("Drop a video or sound file").set_input_files(
        shutil.copyfile(clips.video(), tmp_path / "from the page.mp4")
    )
    tab.get_by_role("link", name="done: look at it").click(timeout=120_000)
    expect(tab.get_by_role("heading", level=1)).to_have_text("from the page.mp4")
    expect(tab.get_by_role("row", name="web/small")).to_contain_text("160 × 90")
    video = "document.querySelector('video')"
    tab.evaluate(f"{video}.play()")
    wait_until(lambda: tab.evaluate(f"{video}.currentTime") > 0.5, 60)
    tab.get_by_role("link", name="All sources").click()
    expect(tab.locator(".card").first).to_contain_text("from the page.mp4")


def test_the_page_of_a_file_that_is_no_video_says_why(tab, tmp_path):
    (tmp_path / "no video.mp4").write_text("nothing to see here")
    tab.get_by_label("It is processed by").select_option("vod")
    tab.get_by_label("Drop a video or sound file").set_input_files(tmp_path / "no video.mp4")
    tab.get_by_role("link", name="failed: see why").click(timeout=120_000)
    expect(tab.get_by_role("region", name="What went wrong")).to_contain_text("What to do:")


@pytest.fixture
def sdk(up, settings) -> Callable[..., dict]:
    return official_sdk(settings)


def finished(sdk: Callable[..., dict], task_id: str) -> dict:
    wait_until(lambda: sdk("DescribeTaskDetail", TaskId=task_id)["Status"] == "FINISH")
    return sdk("DescribeTaskDetail", TaskId=task_id)


def cos(key: str) -> dict:
    return {"Type": "COS", "CosInputInfo": {"Bucket": "inbox", "Region": "ap-guangzhou", "Object": key}}


REEXECUTE = """mutation($run: String!) {
  launchRunReexecution(reexecutionParams: {parentRunId: $run, strategy: ALL_STEPS}) {
    __typename ... on PythonError { message } } }"""
START = """mutation($sensor: SensorSelector!) {
  startSensor(sensorSelector: $sensor) { ... on Sensor { sensorState { id } } } }"""
TICK = """query($sensor: SensorSelector!) {
  sensorOrError(sensorSelector: $sensor) {
    ... on Sensor { sensorState { ticks(limit: 1, statuses: [SKIPPED, SUCCESS]) { timestamp } } } } }"""
STOP = "mutation($id: String!) { stopSensor(id: $id) { __typename } }"
EVERYTHING = {
    "TranscodeTaskSet": [
        {"Definition": 100010, "OverrideParameter": {"VideoTemplate": {"Height": 240}}},
        {"Definition": 0, "RawParameter": {"Container": "mp3", "RemoveVideo": 1, "AudioTemplate": {"Codec": "mp3", "Bitrate": 64, "SampleRate": 44100}}},
        {"Definition": 424242},
    ],
    "AnimatedGraphicTaskSet": [{"Definition": 20000, "StartTimeOffset": 0, "EndTimeOffset": 1}],
    "SnapshotByTimeOffsetTaskSet": [{"Definition": 10, "ExtTimeOffsetSet": ["0s", "50%"]}],
    "SampleSnapshotTaskSet": [{"Definition": 10}],
    "ImageSpriteTaskSet": [{"Definition": 10}],
    "AdaptiveDynamicStreamingTaskSet": [{
        "Definition": 10,
        "AddOnSubtitles": [{"Subtitle": cos("/api/lines.srt"), "SubtitleName": "Deutsch", "SubtitleLanguage": "deu"}],
    }],
}  # fmt: skip


STEPS = "query($id: ID!) { runOrError(runId: $id) { ... on Run { stepStats { stepKey } } } }"


def test_the_official_sdk_processes_a_file_with_every_task_type(sdk, settings, clips):
    """ProcessMedia, DescribeTaskDetail until FINISH, every output; a template that is not there fails alone."""
    buckets = Deployment.of(settings).buckets
    buckets.get("inbox").publish(clips.video(), "api/film.mp4")
    buckets.get("inbox").write("api/lines.srt", b"1\n00:00:00,500 --> 00:00:01,500\nHallo\n")
    started = sdk(
        "ProcessMedia", InputInfo=cos("/api/film.mp4"), OutputDir="/api/", MediaProcessTask=EVERYTHING, TasksPriority=5,
        OutputStorage={"Type": "COS", "CosOutputStorage": {"Bucket": "outputs", "Region": "ap-guangzhou"}},
        SessionId="story", SessionContext="context",
    )  # fmt: skip
    with pytest.raises(TencentCloudSDKException) as caught:
        sdk("ProcessMedia", InputInfo=cos("/api/film.mp4"), MediaProcessTask=EVERYTHING, SessionId="story")
    assert caught.value.code == "InvalidParameterValue.SessionId"
    detail = finished(sdk, started["TaskId"])
    assert (detail["SessionId"], detail["SessionContext"], detail["TasksPriority"]) == ("story", "context", 5)
    task = detail["WorkflowTask"]
    assert (task["Status"], task["ErrCode"], task["MetaData"]["Width"]) == ("FINISH", 0, 320)
    told = [
        next(value for value in result.values() if isinstance(value, dict)) for result in task["MediaProcessResultSet"]
    ]
    assert [(result["Status"], result["ErrCodeExt"]) for result in told] == [
        *[("SUCCESS", "SUCCESS")] * 2, ("FAIL", "InvalidInput.DefinitionNotExist"), *[("SUCCESS", "SUCCESS")] * 5,
    ]  # fmt: skip
    steps = Deployment.of(settings).dagster.ask(STEPS, id=run_id_of(started["TaskId"]))["runOrError"]["stepStats"]
    assert not [step for step in steps if "watermark" in step["stepKey"]], "what was not asked for costs steps"
    asked = [result["Input"] for result in told]
    assert [entry["Definition"] for entry in asked] == [
        entry["Definition"] for entries in EVERYTHING.values() for entry in entries
    ]
    assert asked[0]["OverrideParameter"]["VideoTemplate"]["Height"] == 240
    assert asked[1]["RawParameter"]["AudioTemplate"]["Bitrate"] == 64
    assert asked[4]["OutputObjectPath"] == "/api/film_snapshotByTimeOffset_10_{number}"
    assert asked[4]["OutputStorage"]["CosOutputStorage"] == {"Bucket": "outputs", "Region": "ap-guangzhou"}
    assert told[0]["Output"]["OutputStorage"] == asked[4]["OutputStorage"]
    assert task["InputInfo"]["CosInputInfo"]["Region"] == "ap-guangzhou"
    paths = [path for result in told if result["Output"] for path in output_paths(result["Output"])]
    assert len(paths) == 2 + 1 + 2 + 10 + 2 + 1
    assert told[-1]["Output"]["Package"] == "HLS"
    assert asked[-1]["AddOnSubtitles"][0]["Subtitle"]["CosInputInfo"]["Object"] == "/api/lines.srt"
    master = buckets.get("outputs").read(told[-1]["Output"]["Path"].removeprefix("/")).decode()
    assert 'NAME="Deutsch",LANGUAGE="deu"' in master
    assert list(buckets.get("outputs").list("_mps/parts/")) == [], "what went into the set is gone"
    for path in paths:
        assert path.startswith("/api/")
        assert buckets.get("outputs").head(path.removeprefix("/")).size > 0


def output_paths(output: dict) -> list[str]:
    single = [output[name] for name in ("Path", "WebVttPath") if output.get(name)]
    return [*single, *(output.get("ImagePathSet") or ()), *(info["Path"] for info in output.get("PicInfoSet") or ())]


@pytest.mark.parametrize(("content", "key"), [(b"no video", "/api/text.mp4"), (None, "/api/gone.mp4")])
def test_a_source_that_cannot_be_used_is_reported_by_the_documented_code(sdk, settings, content, key):
    """The call is accepted; the task says it."""
    if content:
        Deployment.of(settings).buckets.get("inbox").write(key.removeprefix("/"), content)
    started = sdk("ProcessMedia", InputInfo=cos(key), MediaProcessTask={"TranscodeTaskSet": [{"Definition": 100010}]})
    assert finished(sdk, started["TaskId"])["WorkflowTask"]["ErrCode"] == 60000


def test_tasks_that_a_sensor_launched_are_seen_through_the_api_too(sdk, dropped):
    """The state is Dagster's, whoever began the run."""
    shown = sdk("DescribeTaskDetail", TaskId=dropped.task_id)["WorkflowTask"]
    assert shown["InputInfo"]["CosInputInfo"]["Object"] == "/in/dropped.mp4"
    listed = sdk("DescribeTasks", Status="FINISH", SubTaskHasFailed=False, Limit=100)
    assert dropped.task_id in [task["TaskId"] for task in listed["TaskSet"]]


def test_tasks_are_listed_page_by_page(sdk, settings, clips):
    """Newest first; the token of one page leads to the next."""
    inbox = Deployment.of(settings).buckets.get("inbox")
    inbox.publish(clips.video(), "api/paged.mp4")
    task = {"SampleSnapshotTaskSet": [{"Definition": 10}]}
    started = [
        sdk("ProcessMedia", InputInfo=cos("/api/paged.mp4"), OutputDir=f"/paged-{n}/", MediaProcessTask=task)["TaskId"]
        for n in range(2)
    ]
    for task_id in started:
        finished(sdk, task_id)
    first = sdk("DescribeTasks", Status="FINISH", Limit=1)
    second = sdk("DescribeTasks", Status="FINISH", Limit=1, ScrollToken=first["ScrollToken"])
    assert [task["TaskId"] for page in (first, second) for task in page["TaskSet"]] == started[::-1]


def test_a_task_that_is_run_again_stays_one_task(sdk, settings, clips):
    """As with "Re-execute" in the UI: its state is that of its newest run."""
    deployment = Deployment.of(settings)
    asked = {"InputInfo": cos("/api/later.mp4"), "MediaProcessTask": {"SampleSnapshotTaskSet": [{"Definition": 10}]}}
    task_id = sdk("ProcessMedia", **asked)["TaskId"]
    assert finished(sdk, task_id)["WorkflowTask"]["ErrCode"] == 60000
    deployment.buckets.get("inbox").publish(clips.video(), "api/later.mp4")
    run_id = describe(deployment, task_id).run_id
    again = deployment.dagster.ask(REEXECUTE, run=run_id)["launchRunReexecution"]
    assert again["__typename"] == "LaunchRunSuccess", again
    wait_until(lambda: sdk("DescribeTaskDetail", TaskId=task_id)["WorkflowTask"]["ErrCode"] == 0)
    assert len(finished(sdk, task_id)["WorkflowTask"]["MediaProcessResultSet"]) == 1
    for failed, times in ((True, 0), (False, 1)):
        listed = sdk("DescribeTasks", Status="FINISH", SubTaskHasFailed=failed, Limit=100)["TaskSet"]
        assert [task["TaskId"] for task in listed].count(task_id) == times


def test_the_command_and_the_api_tell_the_same_usage(sdk, mps, settings, clips, tmp_path):
    """One reads Dagster's database, the other asks its web server."""
    Deployment.of(settings).buckets.get("inbox").publish(clips.video(), "api/used.mp4")
    task = {"SampleSnapshotTaskSet": [{"Definition": 10}]}
    finished(
        sdk, sdk("ProcessMedia", InputInfo=cos("/api/used.mp4"), OutputDir="/used/", MediaProcessTask=task)["TaskId"]
    )
    now = datetime.now(UTC).isoformat()

    def tell_the_same() -> bool:
        """How many pictures were made; another test's run may end between the two."""
        answer = sdk("DescribeUsageData", StartTime=now, EndTime=now, Types=["Snapshot"])
        mps("usage", "--since", now[:10], "--until", now[:10], "--by", "type", "--csv", str(tmp_path / "usage.csv"))
        lines = csv.DictReader((tmp_path / "usage.csv").read_text().splitlines())
        pictures = sum(
            int(line["pictures"]) for line in lines if "snapshot" in line["type"] or "sprite" in line["type"]
        )
        return answer["Data"][0]["Summary"][0]["Usage"] == pictures > 0

    wait_until(tell_the_same)


def test_the_api_tells_what_a_file_is_and_what_is_wrong_with_a_call(sdk, settings, clips):
    """By the codes of MPS."""
    Deployment.of(settings).buckets.get("inbox").publish(clips.video(), "api/probe.mp4")
    assert sdk("DescribeMediaMetaData", InputInfo=cos("/api/probe.mp4"))["MetaData"]["Duration"] == 2.0
    for action, parameters, code in [
        ("DescribeMediaMetaData", {"InputInfo": cos("/api/none.mp4")}, "InvalidParameterValue.SrcFile"),
        ("DescribeMediaMetaData", {"InputInfo": {"Type": "URL", "UrlInputInfo": {"Url": "http://169.254.169.254/a.mp4"}}}, "InvalidParameterValue.SrcFile"),
        ("DescribeTaskDetail", {"TaskId": "none"}, "ResourceNotFound"),
        ("DescribeTasks", {"Status": "FINISH", "Limit": 101}, "InvalidParameterValue.Limit"),
        ("ManageTask", {"OperationType": "Pause", "TaskId": "none"}, "InvalidParameterValue.InvalidOperationType"),
        ("ManageTask", {"OperationType": "Abort", "TaskId": "none"}, "InvalidParameterValue.TaskId"),
        ("ProcessMedia", {"InputInfo": cos("/a.mp4")}, "InvalidParameter"),
        ("ProcessMedia", {"InputInfo": cos("/a.mp4"), "AiAnalysisTask": {"Definition": 10}}, "UnsupportedOperation"),
        ("ProcessMedia", {"InputInfo": cos("/a.mp4"), "SessionId": "x" * 51}, "InvalidParameterValue.SessionIdTooLong"),
        ("CreateLiveRecordTemplate", {}, "UnsupportedOperation"),
    ]:  # fmt: skip
        with pytest.raises(TencentCloudSDKException) as caught:
            sdk(action, **parameters)
        assert caught.value.code == code, (action, parameters)


@pytest.fixture
def hook() -> Iterator[SimpleNamespace]:
    """A receiver of callbacks."""
    got: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield SimpleNamespace(url=f"http://127.0.0.1:{server.server_port}/hook", got=got)
    server.shutdown()
    server.server_close()


def stopped_in_the_ui(settings: Settings, sensor: str) -> None:
    """Which Dagster remembers; its switch there, back and forth."""
    dagster = Deployment.of(settings).dagster
    started = dagster.ask(START, sensor={**LOCATION, "sensorName": sensor})["startSensor"]
    stopped = dagster.ask(STOP, id=started["sensorState"]["id"])["stopSensor"]
    assert stopped["__typename"] == "StopSensorMutationResult"


def wait_for_a_poll(settings: Settings, bucket: str) -> None:
    """Until the bucket's sensor has polled once more from begin to end."""
    dagster, now, sensor = Deployment.of(settings).dagster, time.time(), sensor_name(bucket)

    def polled() -> bool:
        state = dagster.ask(TICK, sensor={**LOCATION, "sensorName": sensor})["sensorOrError"]["sensorState"]
        return any(tick["timestamp"] > now for tick in state["ticks"])

    wait_until(polled)


def test_the_whole_story_with_nothing_but_the_official_sdk(sdk, hook, settings, clips):
    """Template, workflow, enable, upload, poll, callback, parse it; what was there before enabling is left alone.

    Enabled is enabled, also where somebody had stopped the sensor.
    """
    inbox = Deployment.of(settings).buckets.get("inbox")
    inbox.publish(clips.video(), "story/early.mp4")
    template = sdk("CreateSampleSnapshotTemplate", Name="story", SampleType="Percent", SampleInterval=50, Width=160)[
        "Definition"
    ]
    workflow = sdk(
        "CreateWorkflow", WorkflowName="故事 story!", OutputDir="/story-out/", TaskPriority=1,
        Trigger={"Type": "CosFileUpload", "CosFileUploadTrigger": {"Bucket": "inbox", "Region": "ap-guangzhou", "Dir": "/story/"}},
        OutputStorage={"Type": "COS", "CosOutputStorage": {"Bucket": "outputs", "Region": "ap-guangzhou"}},
        MediaProcessTask={"SampleSnapshotTaskSet": [{"Definition": template}]},
        TaskNotifyConfig={"NotifyType": "URL", "NotifyUrl": hook.url, "NotifyKey": "a key"},
    )["WorkflowId"]  # fmt: skip
    [shown] = sdk("DescribeWorkflows", WorkflowIds=[workflow])["WorkflowInfoSet"]
    assert (shown["Status"], shown["WorkflowName"]) == ("Disabled", "故事 story!")
    inbox.publish(clips.video(), "story/also early.mp4")
    time.sleep(1.1)
    stopped_in_the_ui(settings, f"w{workflow}_uploads")
    sdk("EnableWorkflow", WorkflowId=workflow)
    with pytest.raises(TencentCloudSDKException):
        sdk("DeleteWorkflow", WorkflowId=workflow)
    inbox.publish(clips.video(), "story/film.mp4")
    wait_until(lambda: hook.got)
    parsed = sdk("ParseNotification", Content=hook.got[0])
    event = parsed["WorkflowTaskEvent"]
    assert event["InputInfo"]["CosInputInfo"]["Object"] == "/story/film.mp4"
    assert parsed["Sign"] == hashlib.md5(f"{parsed['Timestamp']}a key".encode()).hexdigest()
    assert sdk("DescribeTaskDetail", TaskId=event["TaskId"])["Status"] == "FINISH"
    [result] = event["MediaProcessResultSet"]
    for path in result["SampleSnapshotTask"]["Output"]["ImagePathSet"]:
        assert Deployment.of(settings).buckets.get("outputs").head(path.removeprefix("/")).size > 0
    sdk("DisableWorkflow", WorkflowId=workflow)
    inbox.publish(clips.video(), "story/late.mp4")
    sdk("DeleteWorkflow", WorkflowId=workflow)
    assert sdk("DescribeWorkflows", WorkflowIds=[workflow])["TotalCount"] == 0
    assert len(hook.got) == 1


def test_a_source_may_be_a_url(sdk, settings, clips, tmp_path):
    """Fetched when the task runs; the result shows the requested URL."""
    content = clips.video().read_bytes()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/a/film%20one.mp4?token=1"
    source = {"Type": "URL", "UrlInputInfo": {"Url": url}}
    inside = {"Type": "URL", "UrlInputInfo": {"Url": "http://169.254.169.254/latest/film.mp4"}}
    task = {"SampleSnapshotTaskSet": [{"Definition": 10}]}
    try:
        started = [
            sdk("ProcessMedia", InputInfo=info, OutputDir="/url/", MediaProcessTask=task) for info in (source, inside)
        ]
        good, bad = (finished(sdk, each["TaskId"])["WorkflowTask"] for each in started)
    finally:
        server.shutdown()
        server.server_close()
    assert good["InputInfo"]["UrlInputInfo"]["Url"] == url
    output = good["MediaProcessResultSet"][0]["SampleSnapshotTask"]["Output"]
    assert output["ImagePathSet"][0] == "/url/film one_sampleSnapshot_10_0.jpg"
    assert output["Storage"]["CosOutputStorage"]["Bucket"] == "outputs"
    assert bad["ErrCode"] == 60000
    assert "MPS_WEB__ALLOW" in bad["Message"] or "169.254.169.254" in bad["Message"]


def test_a_schedule_runs_its_graph_by_hand(sdk, settings, clips):
    """Serial: what follows a transcode is made of its output. On an object of any bucket, to the place that the call names."""
    Deployment.of(settings).buckets.get("inbox").publish(clips.video(), "graph/film.mp4")
    schedule = sdk(
        "CreateSchedule", ScheduleName="graph", OutputDir="/graph-out/",
        Trigger={"Type": "CosFileUpload", "CosFileUploadTrigger": {"Bucket": "inbox", "Region": "r", "Dir": "/graph/"}},
        OutputStorage={"Type": "COS", "CosOutputStorage": {"Bucket": "outputs", "Region": "r"}},
        Activities=[
            {"ActivityType": "input", "ReardriveIndex": [1]},
            {"ActivityType": "action-trans", "ReardriveIndex": [2], "ActivityPara": {"TranscodeTask": {"Definition": 100010}}},
            {"ActivityType": "action-samplesnapshot", "ReardriveIndex": [3], "ActivityPara": {"SampleSnapshotTask": {"Definition": 10}}},
            {"ActivityType": "output"},
        ],
    )["ScheduleId"]  # fmt: skip
    started = sdk("ProcessMedia", InputInfo=cos("/graph/film.mp4"), ScheduleId=schedule)
    Deployment.of(settings).buckets.get("drafts").publish(clips.video(), "scene.mp4")
    source = {"Type": "COS", "CosInputInfo": {"Bucket": "drafts", "Region": "r", "Object": "/scene.mp4"}}
    second = sdk("ProcessMedia", InputInfo=source, ScheduleId=schedule, OutputDir="/cut/")
    detail = finished(sdk, started["TaskId"])
    assert (detail["TaskType"], detail["WorkflowTask"]) == ("ScheduleTask", None)
    listed = {task["TaskId"]: task["TaskType"] for task in sdk("DescribeTasks", Status="FINISH")["TaskSet"]}
    assert listed[started["TaskId"]] == "ScheduleTask"
    results = detail["ScheduleTask"]["ActivityResultSet"]
    assert [result["ActivityType"] for result in results] == ["Transcode", "SampleSnapshot"]
    pictures = results[1]["ActivityResItem"]["SampleSnapshotTask"]["Output"]["ImagePathSet"]
    assert pictures[0] == "/graph-out/film_transcode_100010_sampleSnapshot_10_0.jpg"
    elsewhere = finished(sdk, second["TaskId"])
    assert elsewhere["ScheduleTask"]["InputInfo"]["CosInputInfo"]["Bucket"] == "drafts"
    output = elsewhere["ScheduleTask"]["ActivityResultSet"][1]["ActivityResItem"]["SampleSnapshotTask"]["Output"]
    assert output["Storage"]["CosOutputStorage"]["Bucket"] == "outputs"
    assert output["ImagePathSet"][0] == "/cut/scene_transcode_100010_sampleSnapshot_10_0.jpg"
    sdk("DeleteSchedule", ScheduleId=schedule)


def test_the_example_in_the_docs_runs(up, settings, clips, tmp_path, monkeypatch, capsys):
    """A newcomer copies it."""
    Deployment.of(settings).buckets.get("inbox").publish(clips.video(), "clip.mp4")
    text = (ROOT / "docs" / "moving-from-mps.md").read_text().split("```python\n")[1].split("```")[0]
    (tmp_path / ".mps").mkdir()
    keys = f"keys: [{{secret_id: {SECRET_ID}, secret_key: {SECRET_KEY}}}]"
    (tmp_path / ".mps" / "api_keys.yaml").write_text(keys)
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        exec(text.replace("127.0.0.1:3002", f"127.0.0.1:{settings.api.port}"), {})
    assert capsys.readouterr().out.startswith("mps-WorkflowTask-")


def test_what_was_made_of_what_can_be_asked(up, mps, settings, clips):
    """From the source to its outputs, and from one of them back; also when the source is gone."""
    deployment = Deployment.of(settings)
    deployment.buckets.get("inbox").publish(clips.video(), "in/traced.mp4")
    run = wait_for(deployment, "in/traced.mp4", until=ended)
    told = " ".join(mps("lineage", "inbox/in/traced.mp4").split())
    assert "unchanged" in told
    assert "teaser" in told
    back = mps("lineage", "outputs/vod/traced_snapshotByTimeOffset_10_1.jpg")
    assert "was made of inbox/in/traced.mp4" in back
    assert run.task_id in back
    assert "command   ffmpeg" in back
    serial = mps("lineage", "outputs/vod/traced_transcode_small_animatedGraphic_teaser.gif")
    assert "teaser.gif was made of outputs/vod/traced_transcode_small.mp4" in serial
    assert "small.mp4 was made of inbox/in/traced.mp4" in serial
    deployment.buckets.get("inbox").delete("in/traced.mp4")
    assert "gone" in mps("lineage", "inbox/in/traced.mp4")
    assert "no outputs of" in mps("lineage", "inbox/in/never.mp4", returncode=1)


def test_a_changed_workflow_is_made_up_for(up, mps, mps_here, settings, clips):
    """The plan names the tasks, the backfill makes just these, by the file as it is now; by hand and by the schedule's job."""
    deployment = Deployment.of(settings)
    deployment.buckets.get("inbox").publish(clips.video(), "in/again.mp4")
    wait_for(deployment, "in/again.mp4", until=ended)
    plan = ("backfill", "plan", "vod", "--prefix", "in/again")
    assert "0 sources" in mps(*plan)
    path = settings.workflows_dir / "vod.yaml"
    path.write_text(path.read_text().replace("width: 128", "width: 96"))
    assert "1 sources" in mps(*plan, "--csv", str(settings.home / "plan.csv"))
    assert ",stale,teaser," in (settings.home / "plan.csv").read_text()
    assert "/runs/b/" in mps("backfill", "run", "vod", "--prefix", "in/again", "--yes")
    assert "0 sources" in mps("backfill", "run", "vod", "--prefix", "in/again", "--yes")
    wait_until(lambda: "0 sources" in mps_here(*plan, "--status", "stale", "--status", "running"))
    gif = deployment.buckets.get("outputs").read("vod/again_transcode_small_animatedGraphic_teaser.gif")
    assert int.from_bytes(gif[6:8], "little") == 96
    # Its runs have ended, the backfill ends at the daemon's next look; until then a scheduled one launches nothing.
    asked = "{ partitionBackfillsOrError(status: REQUESTED) { ... on PartitionBackfills { results { id } } } }"
    wait_until(lambda: not deployment.dagster.ask(asked)["partitionBackfillsOrError"]["results"])
    path.write_text(path.read_text().replace("width: 96", "width: 64"))
    config = {"ops": {"plan_and_launch": {"config": {"workflow": "vod"}}}}
    deployment.dagster.launch("backfill", config, {})
    wait_until(lambda: "1 sources" in mps_here(*plan, "--status", "running"))
    wait_until(lambda: "0 sources" in mps_here(*plan, "--status", "stale", "--status", "running"))


def test_a_file_that_is_still_being_written_is_taken_when_it_is_whole(up, settings, clips):
    """One run, of the whole file."""
    deployment = Deployment.of(settings)
    content = clips.video(4).read_bytes()
    path = settings.buckets_dir / "inbox" / "in" / "slowly.mp4"
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as file:
        # In more time than a sensor waits before it polls again.
        for start in range(0, len(content), len(content) // 5 + 1):
            file.write(content[start : start + len(content) // 5 + 1])
            file.flush()
            time.sleep(1.0)
    run = wait_for(deployment, "in/slowly.mp4", until=ended)
    assert run.outcome == "SUCCESS"
    assert [other.key for other in list_tasks(deployment, limit=50)].count("in/slowly.mp4") == 1


def test_process_puts_a_file_where_its_workflow_looks_and_runs_it_once(mps, settings, clips, tmp_path):
    """The sensor sees that this upload has its run."""
    (tmp_path / "by hand.mp4").write_bytes(clips.video().read_bytes())
    task = mps("process", str(tmp_path / "by hand.mp4"), "--workflow", "vod").strip()
    shown = mps("status", task, "--follow")
    assert "SUCCESS" in shown
    wait_for_a_poll(settings, "inbox")
    runs = [run for run in list_tasks(Deployment.of(settings), limit=50) if run.key == "in/by hand.mp4"]
    assert [run.task_id for run in runs] == [task]
    assert "is there already" in mps("process", str(tmp_path / "by hand.mp4"), "--workflow", "vod", returncode=1)


def test_process_takes_tasks_of_any_kind_for_any_object(mps, settings, clips, tmp_path):
    """Given as YAML or JSON; mistakes are reported before anything is launched."""
    (tmp_path / "clip.mp4").write_bytes(clips.video().read_bytes())
    mark = {"name": "w", "watermark_set": [{"type": "text", "text_content": "字"}]}
    tasks = json.dumps({"sample_snapshot": [{"definition": 10, "height": 90}], "watermark": [mark]})
    task = mps("process", str(tmp_path / "clip.mp4"), "--tasks", tasks, "--output", "outputs/hand").strip()
    assert "SUCCESS" in mps("status", task, "--follow")
    keys = [info.key for info in Deployment.of(settings).buckets.get("outputs").list("hand/")]
    assert "hand/clip_watermark_w.mp4" in keys
    wrong = mps("process", str(tmp_path / "clip.mp4"), "--tasks", "{transcode: [{container: mp5}]}", returncode=1)
    assert "container" in wrong
    assert task in mps("tasks")


def test_a_bad_source_ends_with_mps_s_code(mps, settings, clips, tmp_path):
    """And `mps status` says so by its exit code, too."""
    (tmp_path / "notes.mp4").write_text("no film")
    task = mps("process", str(tmp_path / "notes.mp4"), "--tasks", "{sample_snapshot: [{definition: 10}]}").strip()
    deadline = time.monotonic() + 90
    while describe(Deployment.of(settings), task).state != "FINISH" and time.monotonic() < deadline:
        time.sleep(0.5)
    assert "SourceFileError.ContentMalformed" in mps("status", task, returncode=1)


@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes in /proc")
def test_an_aborted_task_ends_its_ffmpeg_and_is_announced(mps, settings, clips):
    """No ffmpeg goes on without its run."""
    deployment = Deployment.of(settings)
    (settings.buckets_dir / "slow").mkdir(exist_ok=True)
    deployment.buckets.get("slow").publish(clips.video(4), "long.mp4")
    run = wait_for(deployment, "long.mp4", until=lambda run: any(subtask.progress > 0 for subtask in run.subtasks))
    assert encoders(settings)
    mps("abort", run.task_id)
    assert wait_for(deployment, "long.mp4", until=ended).outcome == "CANCELED"
    wait_until(lambda: not encoders(settings), 15)
    event = json.loads(mps("notifications", "receive", "--queue", "aborted", "--wait", "60"))["event"]
    assert event["WorkflowTaskEvent"]["Message"] == "the task was aborted"


@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes in /proc")
def test_a_run_that_is_killed_takes_its_ffmpeg_with_it(mps, settings, clips):
    """Its steps are no children of it, would go on, and publish for a run that has failed."""
    deployment = Deployment.of(settings)
    (settings.buckets_dir / "slow").mkdir(exist_ok=True)
    deployment.buckets.get("slow").publish(clips.video(4), "killed.mp4")
    run = wait_for(deployment, "killed.mp4", until=lambda run: any(subtask.progress > 0 for subtask in run.subtasks))
    said = deployment.dagster.ask(SAID, id=run.run_id)["logsForRun"]["events"]
    [pid] = re.findall(r"parent process \(pid: (\d+)\)", json.dumps(said))
    assert encoders(settings)
    os.kill(int(pid), signal.SIGKILL)
    wait_until(lambda: not encoders(settings), 15)
    # It is to be run again, which a user may prevent.
    waiting = wait_for(deployment, "killed.mp4", until=lambda run: run.state == "WAITING")
    mps("abort", waiting.task_id)
    aborted = wait_for(deployment, "killed.mp4", until=ended)
    assert (aborted.task_id, aborted.outcome, aborted.attempts) == (run.task_id, "CANCELED", 2)
    assert not (settings.buckets_dir / "outputs" / "slow").exists()


def test_a_task_may_be_aborted_while_it_is_being_started(sdk, settings, clips):
    """Dagster ends no run in that state; its begin is waited for."""
    Deployment.of(settings).buckets.get("inbox").publish(clips.video(), "api/abort.mp4")
    task = {"TranscodeTaskSet": [{"Definition": 100010}]}
    run = sdk("ProcessMedia", InputInfo=cos("/api/abort.mp4"), MediaProcessTask=task)["TaskId"]
    deadline = time.monotonic() + 60
    while sdk("DescribeTaskDetail", TaskId=run)["Status"] == "WAITING" and time.monotonic() < deadline:
        time.sleep(0.05)
    sdk("ManageTask", OperationType="Abort", TaskId=run)
    assert finished(sdk, run)["WorkflowTask"]["ErrCode"] != 0


def test_the_doctor_asks_dagster_how_it_is(up, settings):
    """Of the running one: its version, once it has loaded the project and its daemons live."""
    told = {finding.what: finding for finding in examine(settings)}
    assert (told["Dagster"].state, told["API"].state) == ("ok", "ok"), told["Dagster"].detail
    assert "version 1." in told["Dagster"].detail


def test_a_file_that_is_no_workflow_is_reported(mps):
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
