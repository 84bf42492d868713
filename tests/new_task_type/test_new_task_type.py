"""A new task type is its module, a line in the catalogue and its presets: nothing else of the package knows it.

The steps of docs/adding-a-task-type.md, done to a copy of the package, which then runs for real.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from deployments import MPS, SECRET_ID, SECRET_KEY, environment_of, start, wait_until, with_ports
from PIL import Image
from projects import ROOT, make_project
from tencentcloud.common.credential import Credential
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.mps.v20190612.mps_client import MpsClient

from mps_dagster.settings import Settings

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("services")]

HERE = Path(__file__).parent
CATALOGUE = "for module in (\n        transcode,\n"

WORKFLOW = """
name: covers
trigger: {bucket: inbox, dir: /in/}
output: {bucket: outputs, dir: /covers/}
notify: [{type: local, queue: events}]
tasks:
  cover: {type: poster, outputs: [{definition: 1, at: 0.5}]}
"""
SOURCE = {"Type": "COS", "CosInputInfo": {"Bucket": "inbox", "Region": "r", "Object": "/in/clip.mp4"}}
TRIGGER = {"Type": "CosFileUpload", "CosFileUploadTrigger": {"Bucket": "inbox", "Region": "r", "Dir": "/other/"}}

Call = Callable[..., dict]


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> Iterator[Settings]:
    """A deployment whose Python finds the copy first."""
    folder = tmp_path_factory.mktemp("poster")
    package = folder / "package" / "mps_dagster"
    shutil.copytree(ROOT / "mps_dagster", package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(HERE / "poster.py", package / "tasks")
    shutil.copy(HERE / "poster.yaml", package / "workflow" / "presets")
    catalogue = package / "tasks" / "__init__.py"
    text = catalogue.read_text()
    assert text.count(CATALOGUE) == 1
    added = text.replace(CATALOGUE, f"{CATALOGUE}        poster,\n").replace("import (\n", "import (\n    poster,\n", 1)
    catalogue.write_text(added)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(package.parent))
        yield with_ports(make_project(folder, covers=WORKFLOW))


@pytest.fixture(scope="module")
def call(settings) -> Iterator[Call]:
    """An action of the running deployment; not by the SDK's models, which do not know the type."""
    profile = ClientProfile(httpProfile=HttpProfile(protocol="http", endpoint=f"127.0.0.1:{settings.api.port}"))
    with start(settings) as up:
        client = MpsClient(Credential(SECRET_ID, SECRET_KEY), "ap-guangzhou", profile)
        yield lambda action, **parameters: client.call_json(action, parameters)["Response"]
        client.request.conn._session.close()
        up.send_signal(signal.SIGTERM)
        up.wait(timeout=30)


def ended(call: Call, task_id: str) -> dict:
    wait_until(lambda: call("DescribeTaskDetail", TaskId=task_id)["Status"] == "FINISH")
    return call("DescribeTaskDetail", TaskId=task_id)


def received(settings: Settings) -> dict:
    command = [MPS, "notifications", "receive", "--wait", "60", "--acknowledge"]
    said = subprocess.run(command, env=environment_of(settings), capture_output=True, text=True, check=True, timeout=90)
    return json.loads(said.stdout)["event"]


def test_an_upload_is_processed_and_announced(call, settings, clips):
    """By a workflow file that names the preset."""
    folder = settings.buckets_dir / "inbox" / "in"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(clips.video(), folder / "clip.mp4")
    event = received(settings)
    [result] = event["WorkflowTaskEvent"]["MediaProcessResultSet"]
    assert (result["Type"], result["PosterTask"]["Status"], result["TranscodeTask"]) == ("Poster", "SUCCESS", None)
    assert result["PosterTask"]["Input"]["At"] == 0.5
    output = result["PosterTask"]["Output"]
    assert (output["Path"], output["At"], output["Definition"]) == ("/covers/clip_poster_1.png", 0.5, 1)
    with Image.open(settings.buckets_dir / "outputs" / "covers" / "clip_poster_1.png") as picture:
        assert picture.size == (320, 180)
        assert all(red == green == blue for _, (red, green, blue) in picture.convert("RGB").getcolors(2**20))
    detail = call("DescribeTaskDetail", TaskId=event["WorkflowTaskEvent"]["TaskId"])
    assert detail["WorkflowTask"]["MediaProcessResultSet"] == [result]


def test_its_templates_are_made_shown_changed_and_used(call, refused):
    """And refused by the codes of its own parameters."""
    assert refused("CreatePosterTemplate", Width=200) == "MissingParameter"
    assert refused("CreatePosterTemplate", Format="gif") == "InvalidParameterValue.Format"
    assert refused("CreatePosterTemplate", Format="png", Width=64) == "InvalidParameterValue.Width"
    assert refused("CreatePosterTemplate", Format="jpg", Width=3000) == "InvalidParameterValue.Width"
    assert refused("CreatePosterTemplate", Format="png", At=1) == "UnknownParameter"
    made = call("CreatePosterTemplate", Name="small", Format="jpg", Width=160)["Definition"]
    call("ModifyPosterTemplate", Definition=made, Width=200)
    [shown] = call("DescribePosterTemplates", Type="Custom")["PosterTemplateSet"]
    assert (shown["Definition"], shown["Name"], shown["Format"], shown["Width"]) == (made, "small", "jpg", 200)
    tasks = {"PosterTaskSet": [{"Definition": made, "At": 1.5, "OutputObjectPath": "/p/{inputName}.{format}"}]}
    storage = {"Type": "COS", "CosOutputStorage": {"Bucket": "outputs", "Region": "r"}}
    task = call("ProcessMedia", InputInfo=SOURCE, MediaProcessTask=tasks, OutputStorage=storage)["TaskId"]
    [result] = ended(call, task)["WorkflowTask"]["MediaProcessResultSet"]
    assert (result["PosterTask"]["Status"], result["PosterTask"]["Output"]["Path"]) == ("SUCCESS", "/p/clip.jpg")
    call("DeletePosterTemplate", Definition=made)
    assert call("DescribePosterTemplates")["TotalCount"] == 1


def test_a_schedule_has_it_as_a_node(call):
    """Shown as it was asked for, and run."""
    para = {"PosterTask": {"Definition": 1, "At": 1.0}}
    nodes = [
        {"ActivityType": "input", "ReardriveIndex": [1]},
        {"ActivityType": "action-poster", "ReardriveIndex": [2], "ActivityPara": para},
        {"ActivityType": "output"},
    ]
    storage = {"Type": "COS", "CosOutputStorage": {"Bucket": "outputs", "Region": "r"}}
    asked = {"ScheduleName": "posters", "Trigger": TRIGGER, "OutputStorage": storage, "OutputDir": "/s/"}
    schedule = call("CreateSchedule", **asked, Activities=nodes)["ScheduleId"]
    [shown] = call("DescribeSchedules", ScheduleIds=[schedule])["ScheduleInfoSet"]
    assert shown["Activities"][1]["ActivityPara"] == para
    task = call("ProcessMedia", InputInfo=SOURCE, ScheduleId=schedule)["TaskId"]
    [result] = ended(call, task)["ScheduleTask"]["ActivityResultSet"]
    assert result["ActivityType"] == "Poster"
    assert result["ActivityResItem"]["PosterTask"]["Output"]["Path"] == "/s/clip_poster_1.png"
