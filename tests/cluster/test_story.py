"""Three hosts that share nothing but a bucket and a database, as their users meet them."""

from __future__ import annotations

import io
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import av
import pytest
from deployments import official_sdk
from PIL import Image
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException

from cluster.cluster import BIN, PROJECT, S3_PORT, Cluster, new
from mps_dagster.control import tags
from mps_dagster.control.health import examine
from mps_dagster.control.task_run import run_id_of, task_id
from mps_dagster.control.tasks import describe

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("cluster"), pytest.mark.timeout(600)]

LOGS = """query($id: ID!) { runOrError(runId: $id) { ... on Run { stepStats { stepKey }
  capturedLogs(fileKey: "%s") { stderr } } } }"""
STARTING = """query($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events {
  ... on RunStartingEvent { timestamp } } } } }"""
FILE_KEY = """query($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events {
  ... on LogsCapturedEvent { fileKey stepKeys } } } } }"""


@pytest.fixture
def sdk(up) -> Callable[..., dict]:
    return official_sdk(up.settings)


def upload(up: Cluster, path: Path, key: str) -> None:
    up.s3.upload_file(str(path), "inbox", key)


def published(up: Cluster, path: Path, key: str) -> str:
    """The URL of an object that anybody may read."""
    up.s3.upload_file(str(path), "inbox", key, ExtraArgs={"ACL": "public-read"})
    return f"http://{up.control.address}:{S3_PORT}/inbox/{key}"


def s3_input(key: str) -> dict:
    return {"Type": "AWS-S3", "S3InputInfo": {"S3Bucket": "inbox", "S3Object": key, "S3Region": "us-east-1"}}


OUTPUT = {"Type": "AWS-S3", "S3OutputStorage": {"S3Bucket": "outputs", "S3Region": "us-east-1"}}


def test_what_one_host_writes_the_others_do_not_see(up, workers):
    """The hosts of these tests are hosts."""
    beta, gamma = workers.values()
    for path in ("/var/mps/only", "/tmp/only", "/dev/shm/only"):
        beta.run("touch", path)
        assert beta.has(Path(path))
        assert not any(host.has(Path(path)) for host in (gamma, up.control))
        assert not Path(path).exists()
    assert not any(host.has(PROJECT) for host in workers.values()), "the project is on the control host only"


@pytest.fixture(scope="module")
def processed(up, clips) -> list[str]:
    """Uploads whose runs have succeeded."""
    keys = [new("in/clip.mp4") for _ in range(4)]
    for key in keys:
        upload(up, clips.video(), key)
    up.wait_until(lambda: all(up.runs(key) and up.runs(key)[0].status == "SUCCESS" for key in keys))
    return keys


def test_uploads_are_spread_over_the_hosts_and_each_is_processed_once(up, workers, processed):
    runs = [up.runs(key) for key in processed]
    assert [len(of_key) for of_key in runs] == [1] * 4
    assert {run.tags[tags.HOST] for [run] in runs} == set(workers)
    events = [json.loads(up.mps("notifications", "receive", "--wait", "30", "--acknowledge")) for _ in processed]
    assert {event["event"]["WorkflowTaskEvent"]["TaskId"] for event in events} == {
        describe(up.deployment, f"mps-WorkflowTask-{run.run_id.replace('-', '')}").task_id for [run] in runs
    }
    # Staged sources go with the processes of their runs, which end after them.
    up.wait_until(lambda: not any(host.run("ls", "/var/mps/scratch").split() for host in workers.values()), 30)


def test_a_watermark_of_the_control_hosts_project_is_in_the_picture(up, processed):
    """Workflows, templates and pictures go with the run: the logo is on no other host."""
    subtasks = describe(up.deployment, task(up, processed[0])).subtasks
    preview = next(subtask.result.preview_key for subtask in subtasks if subtask.label == "small")
    content = up.s3.get_object(Bucket="outputs", Key=preview)["Body"].read()
    with Image.open(io.BytesIO(content)) as image:
        red, green, blue = image.convert("RGB").getpixel((4, 4))
    assert red > 200
    assert max(green, blue) < 60, (red, green, blue)


def task(up: Cluster, key: str) -> str:
    return task_id(up.runs(key)[0].run_id)


def test_the_ui_shows_what_a_step_on_another_host_printed(up, processed):
    dagster, run = up.deployment.dagster, up.runs(processed[0])[0]
    captured = [event for event in dagster.ask(FILE_KEY, id=run.run_id)["logsForRun"]["events"] if event.get("fileKey")]
    key = next(event["fileKey"] for event in captured if "vod__source" in event["stepKeys"])
    assert "vod__source" in dagster.ask(LOGS % key, id=run.run_id)["runOrError"]["capturedLogs"]["stderr"]


def test_the_official_sdk_processes_a_file_on_whatever_host(up, sdk, clips):
    upload(up, clips.video(), "api/film.mp4")
    asked = {"TranscodeTaskSet": [{"Definition": 100010}], "ImageSpriteTaskSet": [{"Definition": 10}]}
    started = sdk(
        "ProcessMedia", InputInfo=s3_input("api/film.mp4"), OutputDir="/api/", OutputStorage=OUTPUT,
        MediaProcessTask=asked,
    )  # fmt: skip
    up.wait_until(lambda: sdk("DescribeTaskDetail", TaskId=started["TaskId"])["Status"] == "FINISH")
    task = sdk("DescribeTaskDetail", TaskId=started["TaskId"])["WorkflowTask"]
    assert (task["ErrCode"], len(task["MediaProcessResultSet"])) == (0, 2)
    path = task["MediaProcessResultSet"][0]["TranscodeTask"]["Output"]["Path"]
    assert up.s3.head_object(Bucket="outputs", Key=path.removeprefix("/"))["ContentLength"] > 0


def test_a_workflow_made_through_the_api_runs_on_another_host(up, sdk, clips):
    """The API writes its files, and those of templates, on the control host."""
    name = new("story")
    template = sdk("CreateSampleSnapshotTemplate", Name=name, SampleType="Percent", SampleInterval=50, Width=160)
    trigger = {"S3Bucket": "inbox", "S3Region": "us-east-1", "Dir": f"/{name}/"}
    workflow = sdk(
        "CreateWorkflow", WorkflowName=name, OutputDir=f"/{name}-out/", OutputStorage=OUTPUT,
        Trigger={"Type": "AwsS3FileUpload", "AwsS3FileUploadTrigger": trigger},
        MediaProcessTask={"SampleSnapshotTaskSet": [{"Definition": template["Definition"]}]},
    )  # fmt: skip
    sdk("EnableWorkflow", WorkflowId=workflow["WorkflowId"])
    upload(up, clips.video(), f"{name}/new.mp4")
    up.wait_until(lambda: [run.status for run in up.runs(f"{name}/new.mp4")] == ["SUCCESS"])
    found = up.s3.list_objects_v2(Bucket="outputs", Prefix=f"{name}-out/")["Contents"]
    with Image.open(io.BytesIO(up.s3.get_object(Bucket="outputs", Key=found[0]["Key"])["Body"].read())) as image:
        assert (len(found), image.width) == (2, 160)


def test_a_source_may_be_a_url(up, sdk, clips):
    """The host that has the run fetches it, into the bucket that all share."""
    url = published(up, clips.video(), "elsewhere.mp4")
    asked = {"InputInfo": {"Type": "URL", "UrlInputInfo": {"Url": url}}, "OutputDir": "/url/"}
    stills = {"SampleSnapshotTaskSet": [{"Definition": 10}]}
    with pytest.raises(TencentCloudSDKException, match="OutputStorage"):
        sdk("ProcessMedia", **asked, MediaProcessTask=stills)
    started = sdk("ProcessMedia", **asked, OutputStorage=OUTPUT, MediaProcessTask=stills)
    up.wait_until(lambda: sdk("DescribeTaskDetail", TaskId=started["TaskId"])["Status"] == "FINISH")
    task = sdk("DescribeTaskDetail", TaskId=started["TaskId"])["WorkflowTask"]
    assert (task["ErrCode"], task["InputInfo"]["UrlInputInfo"]["Url"]) == (0, url)
    assert up.s3.list_objects_v2(Bucket="outputs", Prefix="url/")["KeyCount"] == 10


def test_a_damaged_source_fails_once_with_its_code(up, sdk):
    key = new("in/text.mp4")
    up.s3.put_object(Bucket="inbox", Key=key, Body=b"no video")
    up.wait_until(lambda: [run.status for run in up.runs(key)] == ["FAILURE"])
    assert sdk("DescribeTaskDetail", TaskId=task(up, key))["WorkflowTask"]["ErrCode"] == 60000


def test_a_file_of_the_control_host_is_processed_by_hand(up, clips):
    """Through the bucket that all share."""
    up.control.run("curl", "-sf", "-o", "/srv/by hand.mp4", published(up, clips.video(), "by_hand.mp4"))
    tasks = "{sample_snapshot: [{definition: 10, height: 90}]}"
    started = up.mps("process", "/srv/by hand.mp4", "--tasks", tasks, "--output", "s3://outputs/hand").strip()
    assert "SUCCESS" in up.mps("status", started, "--follow")
    assert up.s3.list_objects_v2(Bucket="outputs", Prefix="hand/")["KeyCount"] == 10


def test_a_changed_workflow_is_made_up_for_on_any_host(up, clips):
    """The plan is made on the control host; the backfill's runs get the files as they are now. Lineage knows of both."""
    key, file = new("in/again.mp4"), f"{PROJECT}/workflows/vod.yaml"
    upload(up, clips.video(), key)
    up.wait_until(lambda: [run.status for run in up.runs(key)] == ["SUCCESS"])
    plan = ("backfill", "plan", "vod", "--prefix", key)
    assert "0 sources" in up.mps(*plan)
    height = int(re.findall(r"height: (\d+)", up.control.run("cat", file))[0])
    up.control.run("sed", "-i", f"s/height: {height}/height: {height + 30}/", file)
    assert "1 sources" in up.mps(*plan)
    up.mps("backfill", "run", "vod", "--prefix", key, "--yes")
    up.wait_until(lambda: "0 sources" in up.mps(*plan, "--status", "stale", "--status", "running"))
    output = f"vod/{Path(key).stem}_transcode_small.mp4"
    content = up.s3.get_object(Bucket="outputs", Key=output)["Body"].read()
    with av.open(io.BytesIO(content)) as container:
        assert container.streams.video[0].height == height + 30
    assert f"was made of s3://inbox/{key}" in up.mps("lineage", f"s3://outputs/{output}")


def test_a_folder_of_one_host_is_refused_as_a_bucket(up, sdk):
    with pytest.raises(TencentCloudSDKException) as caught:
        sdk("ProcessMedia", InputInfo={"Type": "COS", "CosInputInfo": {"Bucket": "inbox", "Region": "local", "Object": "/a.mp4"}},
            MediaProcessTask={"SampleSnapshotTaskSet": [{"Definition": 10}]})  # fmt: skip
    assert "MPS_CLUSTER" in str(caught.value)


def test_a_deployment_with_a_workflow_on_a_folder_does_not_start(up):
    """With words, and before anything else."""
    up.control.run("sh", "-c", f"mkdir -p /srv/wrong && cp -r {PROJECT}/. /srv/wrong")
    up.control.run("sh", "-c", "sed -i 's|\"s3://inbox\"|inbox|' /srv/wrong/workflows/vod.yaml")
    environment = {**up.environment, "MPS_PROJECT": "/srv/wrong", "MPS_HOME": "/var/wrong"}
    argv = up.control.enter([str(BIN / "mps"), "up"])
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "inbox (workflow vod)" in done.stderr


def test_progress_is_seen_and_a_run_is_aborted_wherever_it_is(up, sdk, workers, clips):
    """Both are asked for on the control host."""
    deployment, key = up.deployment, new("long/aborted.mp4")
    # Long enough not to end by itself meanwhile.
    upload(up, clips.video(10), key)

    def progress() -> float:
        runs = up.runs(key)
        subtasks = describe(deployment, task(up, key)).subtasks if runs else ()
        return max((subtask.progress or 0 for subtask in subtasks), default=0)

    up.wait_until(lambda: progress() > 0)
    [run] = up.runs(key)
    host = workers[run.tags[tags.HOST]]
    listed = next(line for line in up.mps("workers").splitlines() if host.name in line)
    assert task(up, key) in listed
    sdk("ManageTask", OperationType="Abort", TaskId=task(up, key))
    up.wait_until(lambda: up.runs(key)[0].status == "CANCELED", 30)
    up.wait_until(lambda: not host.pids("ffmpeg"), 15)
    up.mps("notifications", "receive", "--wait", "30", "--acknowledge")


def test_a_higher_priority_is_first_on_all_hosts(up, sdk, workers, clips):
    """Runs wait in Dagster's queue, which sorts them, and not in Ray's. Those that leave it at the same time, because more
    than one host is free, have no order among themselves."""
    busy = [new("long/busy.mp4") for _ in workers]
    for key in busy:
        upload(up, clips.video(10), key)
    up.wait_until(lambda: all([run.status for run in up.runs(key)] == ["STARTED"] for key in busy))
    upload(up, clips.video(), "api/many.mp4")
    stills = {"SampleSnapshotTaskSet": [{"Definition": 10}]}

    def queued(name: str, priority: int) -> str:
        reply = sdk(
            "ProcessMedia", InputInfo=s3_input("api/many.mp4"), OutputDir=f"/{name}/", OutputStorage=OUTPUT,
            MediaProcessTask=stills, TasksPriority=priority,
        )  # fmt: skip
        return run_id_of(reply["TaskId"])

    dagster = up.deployment.dagster
    low, urgent = [queued(name, -5) for name in ("c", "d", "e")], queued("urgent", 9)
    assert {dagster.newest_of(run).status for run in (*low, urgent)} == {"QUEUED"}, (
        "no host is free before all of them wait"
    )
    for key in busy:
        sdk("ManageTask", OperationType="Abort", TaskId=task(up, key))
    up.wait_until(lambda: all(dagster.newest_of(run).status == "SUCCESS" for run in (*low, urgent)))
    left_s = {run: left_queue_s(up, run) for run in (*low, urgent)}
    assert len([run for run in low if left_s[run] < left_s[urgent]]) < len(workers), left_s


def left_queue_s(up: Cluster, run_id: str) -> float:
    """When Dagster took the run out of its queue; its process starts later."""
    events = up.deployment.dagster.ask(STARTING, id=run_id)["logsForRun"]["events"]
    return next(float(event["timestamp"]) / 1000 for event in events if "timestamp" in event)


def test_the_doctor_tells_of_the_cluster(up):
    findings = {finding.what: finding for finding in examine(up.settings)}
    assert findings["cluster"].state == "ok"
    assert "2 hosts take runs, with 2 cores" in findings["cluster"].detail


def test_a_drained_host_ends_its_runs_and_leaves(up, workers, clips):
    """And joins again when it is started again."""
    key = new("long/drained.mp4")
    upload(up, clips.video(), key)
    [name] = up.wait_until(
        lambda: [run.tags[tags.HOST] for run in up.runs(key) if run.status == "STARTED" and tags.HOST in run.tags]
    )
    assert f"{name} takes no new runs" in up.mps("workers", "--drain", name)
    meanwhile = [new("in/while.mp4") for _ in range(2)]
    for other in meanwhile:
        upload(up, clips.video(), other)
    up.wait_until(lambda: all([run.status for run in up.runs(other)] == ["SUCCESS"] for other in meanwhile))
    assert name not in {up.runs(other)[0].tags[tags.HOST] for other in meanwhile}
    up.wait_until(lambda: up.runs(key)[0].status == "SUCCESS")
    assert len(up.runs(key)) == 1
    host = workers[name]
    up.wait_until(lambda: not host.pids("mps worker"), 30)
    up.wait_until(lambda: not host.pids("ray"), 15)
    up.join(host)
    up.mps("notifications", "receive", "--wait", "1", "--max", "10", "--acknowledge")
