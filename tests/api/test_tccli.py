"""Tencent's own command line against the API. It speaks HTTPS only, so TLS is in front, as it should anywhere else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import trustme
import uvicorn

from mps_dagster.api.limits import RateLimits
from mps_dagster.api.server import create_app, create_service
from mps_dagster.settings import Settings

from .conftest import SECRET_ID, SECRET_KEY

pytestmark = pytest.mark.slow

TCCLI = str(Path(sys.executable).parent / "tccli")


@pytest.fixture
def tccli(tmp_path) -> Iterator[Callable[..., dict]]:
    settings = Settings(project=tmp_path, home=tmp_path, api={"secret_id": SECRET_ID, "secret_key": SECRET_KEY})
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    service = replace(create_service(settings), limits=RateLimits({"*": 1e6}))
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(service), host="127.0.0.1", port=0, log_level="error", ssl_certfile=tmp_path / "server.pem"
        )
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    endpoint = f"127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    # It trusts the authorities of the package certifi and asks nobody for others.
    (tmp_path / "sitecustomize.py").write_text(
        f"import certifi\ncertifi.where = lambda: {str(tmp_path / 'ca.pem')!r}\n"
    )
    environment = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": str(tmp_path), "PYTHONWARNINGS": "ignore"}

    def tccli(action: str, *arguments: str) -> dict:
        common = [
            "--endpoint",
            endpoint,
            "--region",
            "ap-guangzhou",
            "--secretId",
            SECRET_ID,
            "--secretKey",
            SECRET_KEY,
        ]
        done = subprocess.run(
            [TCCLI, "mps", action, *arguments, *common],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
            timeout=60,
        )
        return json.loads(done.stdout) if done.returncode == 0 else {"failed": done.stdout + done.stderr}

    yield tccli
    server.should_exit = True
    thread.join()


def test_the_command_line_of_tencent_works_unchanged(tccli):
    """Making, listing and deleting a template; and an error with its code."""
    fields = {"Container": "mp4", "Name": "by tccli", "VideoTemplate": {"Codec": "h264", "Fps": 0, "Bitrate": 300}}
    fields["AudioTemplate"] = {"Codec": "aac", "Bitrate": 64, "SampleRate": 44100}
    written = [
        part
        for name, value in fields.items()
        for part in (f"--{name}", value if isinstance(value, str) else json.dumps(value))
    ]
    created = tccli("CreateTranscodeTemplate", *written)
    assert isinstance(created.get("Definition"), int), created
    listed = tccli("DescribeTranscodeTemplates", "--Type", "Custom")
    assert [template["Name"] for template in listed["TranscodeTemplateSet"]] == ["by tccli"]
    tccli("DeleteTranscodeTemplate", "--Definition", str(created["Definition"]))
    assert (
        "ResourceNotFound.TemplateNotExist"
        in tccli("DeleteTranscodeTemplate", "--Definition", str(created["Definition"]))["failed"]
    )
