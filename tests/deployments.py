"""A whole deployment for tests: `mps up` in a process of its own, asked with Tencent's own SDK."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from projects import command_lines
from tencentcloud.common.credential import Credential
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.mps.v20190612 import models
from tencentcloud.mps.v20190612.mps_client import MpsClient

from mps_dagster.settings import ApiSettings, Settings

SECRET_ID, SECRET_KEY = "AKIDwhole", "a key that nobody guesses"
MPS = str(Path(sys.executable).parent / "mps")


def with_ports(settings: Settings) -> Settings:
    """The settings of a deployment beside others, which notices soon when the process of a run is gone."""
    config = settings.project / "dagster.yaml"
    config.write_text(config.read_text().replace("poll_interval_seconds: 15", "poll_interval_seconds: 3"))
    api = ApiSettings(port=_free_port(), secret_id=SECRET_ID, secret_key=SECRET_KEY)
    return settings.model_copy(update={"ui_port": _free_port(), "files_port": _free_port(), "api": api})


def environment_of(settings: Settings) -> dict[str, str]:
    return {
        **os.environ, "MPS_PROJECT": str(settings.project), "MPS_HOME": str(settings.home),
        "MPS_UI_PORT": str(settings.ui_port), "MPS_FILES_PORT": str(settings.files_port), "MPS_SETTLE_S": "0.5",
        "MPS_API__PORT": str(settings.api.port), "MPS_API__SECRET_ID": SECRET_ID, "MPS_API__SECRET_KEY": SECRET_KEY,
        "MPS_WEB__ALLOW": '["127.0.0.1"]',
    }  # fmt: skip


@contextlib.contextmanager
def start(settings: Settings, *options: str, program: str = MPS) -> Iterator[subprocess.Popen[str]]:
    """Everything answers when the block begins; a test that fails in it leaves nothing running."""
    argv = [program, "up", *options]
    with subprocess.Popen(argv, env=environment_of(settings), stdout=subprocess.PIPE, text=True) as process:
        try:
            _wait_for_it(process)
            yield process
        except BaseException:
            process.terminate()
            raise


def wait_until(done: Callable[[], bool], timeout_s: float = 150) -> None:
    deadline = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.2)


def leftovers(settings: Settings) -> list[str]:
    """Processes that still speak of this home."""
    return [line for line in command_lines() if str(settings.home) in line and "pytest" not in line]


def encoders(settings: Settings) -> list[int]:
    """The ffmpeg processes of this deployment; they know nothing of it but the folder in which they work."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if "ffmpeg" in (entry / "exe").readlink().name and (entry / "cwd").readlink().is_relative_to(settings.home):
                found.append(int(entry.name))
    return found


def process_of(settings: Settings, words: str) -> int | None:
    """The one of this deployment with these words in its command line; None while there is none."""
    return min((pid for pid, line in processes(settings).items() if words in line), default=None)


def processes(settings: Settings) -> dict[int, str]:
    """The command lines of all of this deployment that `mps up` has started."""
    home = f"DAGSTER_HOME={settings.dagster_home}\0".encode()
    found = [entry.parent for entry in Path("/proc").glob("[0-9]*/environ") if home in _read(entry)]
    return {int(folder.name): _read(folder / "cmdline").replace(b"\0", b" ").decode() for folder in found}


def official_sdk(settings: Settings) -> Callable[..., dict]:
    """An action of MPS's API, called with Tencent's own SDK."""
    profile = ClientProfile(httpProfile=HttpProfile(protocol="http", endpoint=f"127.0.0.1:{settings.api.port}"))
    client = MpsClient(Credential(SECRET_ID, SECRET_KEY), "ap-guangzhou", profile)

    def call(action: str, **parameters: object) -> dict:
        request = getattr(models, f"{action}Request")()
        request.from_json_string(json.dumps(parameters))
        return json.loads(getattr(client, action)(request).to_json_string())

    return call


def _wait_for_it(up: subprocess.Popen[str]) -> None:
    said = []
    for line in up.stdout:
        said.append(line)
        if "Ctrl-C" in line:
            return
    raise AssertionError(f"mps up ended: {''.join(said)}")


def _read(path: Path) -> bytes:
    with contextlib.suppress(OSError):
        return path.read_bytes()
    return b""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
