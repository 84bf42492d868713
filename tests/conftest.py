"""Fixtures that all rooms share."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from clips import Clips
from s3_servers import COS_HOST, cos, layered
from servers import Aws, aws
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException

from mps_dagster.settings import CosSettings

SLOW_FIXTURES = {"clips", "media_folder", "s3_server", "cos_settings", "instance"}
"""A test that uses one of them is slow: it waits for ffmpeg, for a server or for Dagster's database."""
STARTS = {"subprocess.Popen", "os.fork", "os.posix_spawn"}
"""Audit events of Python's by which a process starts."""

_started: list[str] = []


def _note_start(event: str, arguments: tuple[object, ...]) -> None:
    # ffmpeg's version is asked once in a process, by whichever test is the first; that takes 0.05 s.
    if event in STARTS and "'-version'" not in str(arguments):
        _started.append(str(arguments))


sys.addaudithook(_note_start)

MEMORY = Path("/dev/shm")
MEMORY_BYTES = 3 * 2**30
"""What the tests need of it at most, with much to spare."""


def pytest_configure(config: pytest.Config) -> None:
    """Temporary folders are in memory: thousands of small transactions would each wait for a disk."""
    # Not in a worker of pytest-xdist, whose folder is in that of its controller.
    if not hasattr(config, "workerinput") and _has_room(MEMORY):
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


def _has_room(folder: Path) -> bool:
    """Whether there is such a folder, from which programs may be started."""
    if not os.access(folder, os.W_OK):
        return False
    return shutil.disk_usage(folder).free >= MEMORY_BYTES and not os.statvfs(folder).f_flag & os.ST_NOEXEC


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if SLOW_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker("slow")


@pytest.fixture(autouse=True)
def quick_tests_start_no_process(request: pytest.FixtureRequest) -> Iterator[None]:
    """Keeps the quick tier quick: what starts a process is slow, and says so."""
    _started.clear()
    yield
    if _started and not request.node.get_closest_marker("slow"):
        pytest.fail(f"mark this test slow (pytest.mark.slow): it started {_started[0]}")


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    """Synthetic clips, each made when it is first asked for. A worker of pytest-xdist has a folder of its own."""
    return Clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="session")
def s3_server() -> Iterator[Aws]:
    """S3 and SQS over HTTP, shared by a worker's tests: each makes buckets and queues of its own name."""
    with aws() as server:
        yield server


@pytest.fixture(scope="session")
def cos_settings() -> Iterator[CosSettings]:
    """A server that refuses what COS refuses. Names below .localhost are looked up here, and not in a network."""
    look_up = socket.getaddrinfo

    def local(host, *rest, **more):
        return look_up("127.0.0.1" if str(host).endswith(".localhost") else host, *rest, **more)

    with layered(cos) as address, pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", local)
        port = address.rpartition(":")[2]
        yield CosSettings(endpoint_url=f"http://{COS_HOST}:{port}", secret_id="AKIDtest", secret_key="test")


@pytest.fixture(scope="session")
def media_folder() -> Path:
    """Real clips, which are not part of the project."""
    folder = os.environ.get("MPS_TEST_MEDIA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("MPS_TEST_MEDIA names no folder with real clips")
    return Path(folder)


@pytest.fixture
def refused(call) -> Callable[..., str]:
    """The code by which an action is refused; `call` is the one of the tests' room."""

    def refused(action: str, **parameters: object) -> str:
        with pytest.raises(TencentCloudSDKException) as caught:
            call(action, **parameters)
        return caught.value.code

    return refused
