"""Any one process of `mps up` is killed: nothing is left behind, and `--restart` brings it back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
import requests
from deployments import MPS, environment_of, official_sdk, process_of, processes, start, wait_until, with_ports
from projects import make_project
from tencentcloud.common.exception import TencentCloudSDKException

from mps_dagster.control.deployment import Deployment

pytestmark = [
    pytest.mark.slow, pytest.mark.xdist_group("deaths"),
    pytest.mark.skipif(sys.platform != "linux", reason="finds the processes in /proc"),
]  # fmt: skip

PROCESSES = {
    "code server": "dagster code-server start",
    "daemon": "mps_dagster.orchestration.daemon",
    "web server": "dagster_webserver",
    "runner": "mps_dagster.orchestration.runner",
    "API": "mps_dagster.api.server",
    "file server": "mps_dagster.api.files",
}
GONE_S = 20
"""Twice what is promised, for a busy machine."""
QUICK = {"SampleSnapshotTaskSet": [{"Definition": 10}]}


@pytest.mark.timeout(200)
@pytest.mark.parametrize("name", ["code server", "daemon"])
def test_the_death_of_one_process_ends_all(tmp_path, name):
    """The code server is stopped apart from the others, which need it to stop; those are all alike (test_services.py)."""
    settings = with_ports(make_project(tmp_path))
    with start(settings) as up:
        os.kill(process_of(settings, PROCESSES[name]), signal.SIGKILL)
        assert up.wait(GONE_S) == 1
    wait_until(lambda: not processes(settings), GONE_S)


@pytest.mark.timeout(200)
def test_the_death_of_mps_up_ends_all_also_in_a_home_with_a_long_path(tmp_path):
    """The code server's own child, too, which has another parent. A socket's address may not be so long."""
    settings = with_ports(make_project(tmp_path / ("deep" * 30)))
    with start(settings) as up:
        assert requests.get(f"{settings.ui_url}/server_info", timeout=10).ok
        process_of(settings, "dagster api grpc")
        up.kill()
        up.wait(GONE_S)
        wait_until(lambda: not processes(settings), GONE_S)


@pytest.mark.timeout(600)
def test_each_process_comes_back_and_work_goes_on(tmp_path, clips):
    settings = with_ports(make_project(tmp_path))
    sdk = official_sdk(settings)
    Deployment.of(settings).buckets.get("inbox").publish(clips.video(), "clip.mp4")
    source = {"Type": "COS", "CosInputInfo": {"Bucket": "inbox", "Region": "", "Object": "/clip.mp4"}}
    with start(settings, "--restart") as up:
        for number, words in enumerate(PROCESSES.values()):
            died = process_of(settings, words)
            os.kill(died, signal.SIGKILL)
            wait_until(lambda words=words, died=died: process_of(settings, words) not in (None, died))
            for url in (f"{settings.ui_url}/server_info", f"{settings.api_url}/health", settings.files_url):
                wait_until(lambda url=url: answers(url))
            parameters = {"InputInfo": source, "OutputDir": f"/{number}/", "MediaProcessTask": QUICK}
            task = asked_until_taken(sdk, "ProcessMedia", **parameters)["TaskId"]
            wait_until(lambda task=task: sdk("DescribeTaskDetail", TaskId=task)["Status"] == "FINISH")
            [result] = sdk("DescribeTaskDetail", TaskId=task)["WorkflowTask"]["MediaProcessResultSet"]
            assert result["SampleSnapshotTask"]["Status"] == "SUCCESS", words
        assert up.poll() is None
        up.terminate()
    wait_until(lambda: not processes(settings), GONE_S)


@pytest.mark.timeout(300)
def test_a_second_daemon_is_refused(tmp_path):
    """Of `mps up` on other ports, and alone."""
    settings = with_ports(make_project(tmp_path))
    with start(settings) as up:
        wait_until(lambda: process_of(settings, PROCESSES["daemon"]) is not None)
        other = environment_of(with_ports(settings))
        alone = [
            sys.executable,
            "-m",
            "mps_dagster.orchestration.daemon",
            str(settings.dagster_home / "workspace.yaml"),
        ]
        environment = {**other, "DAGSTER_HOME": str(settings.dagster_home)}
        for argv in ([MPS, "up"], alone):
            refused = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=100, check=False)
            assert refused.returncode == 1
            assert "another daemon works on these records: process " in refused.stderr
        assert up.poll() is None
        assert requests.get(f"{settings.ui_url}/server_info", timeout=10).ok
        up.terminate()


def asked_until_taken(sdk, action: str, **parameters) -> dict:
    """Dagster needs some seconds to find a code server again; until then the caller is told that it is not to blame."""
    replies = []

    def taken() -> bool:
        try:
            replies.append(sdk(action, **parameters))
        except TencentCloudSDKException as error:
            if error.code != "FailedOperation":
                raise
        return bool(replies)

    wait_until(taken, 60)
    return replies[0]


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).status_code < 500
    except requests.RequestException:
        return False
