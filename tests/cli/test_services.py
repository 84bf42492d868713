"""The servers that `mps up` keeps running."""

from __future__ import annotations

import os
import sys

import pytest
from deployments import wait_until

from mps_dagster.cli.services import ServiceDown, Services
from mps_dagster.ffmpeg.process import service


def test_one_that_ends_is_told_with_its_log(tmp_path):
    """Then `mps up` ends, and whatever supervises it starts all of them again."""
    log = tmp_path / "files.log"
    broken = [sys.executable, "-c", "raise SystemExit(3)"]
    with service(broken, cwd=tmp_path, log=log, environment=os.environ) as child:
        wait_until(lambda: child.poll() is not None, 10)
        with pytest.raises(ServiceDown, match="files has ended") as caught:
            Services({log: child}).check()
    assert "exit code 3" in str(caught.value)
    assert str(log) in caught.value.hint


def test_those_that_run_are_left_alone(tmp_path):
    """As long as the block lasts."""
    forever = [sys.executable, "-c", "import time; time.sleep(60)"]
    with service(forever, cwd=tmp_path, log=tmp_path / "log", environment=os.environ) as child:
        Services({tmp_path / "log": child}).check()
    assert child.poll() is not None
