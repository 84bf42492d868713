"""The servers that `mps up` keeps running."""

from __future__ import annotations

import os
import sys

import pytest
from deployments import wait_until

from mps_dagster.cli.services import ServiceDown, Services
from mps_dagster.ffmpeg.process import service

pytestmark = pytest.mark.slow


def test_a_process_that_ends_is_reported_with_its_log(tmp_path):
    """Then `mps up` ends, and whatever supervises it starts all of them again."""
    log = tmp_path / "files.log"
    broken = [sys.executable, "-c", "raise SystemExit(3)"]
    with service(broken, cwd=tmp_path, log=log, environment=os.environ) as child:
        wait_until(lambda: child.poll() is not None, 10)
        with pytest.raises(ServiceDown, match="files has ended") as caught:
            Services({log: child}).check()
    assert "exit code 3" in str(caught.value)
    assert str(log) in caught.value.hint


def test_a_process_of_dagster_that_ends_is_reported(tmp_path):
    """`dagster dev` notices, says so in its log, and ends with 0."""
    log = tmp_path / "dagster.log"
    line = "Exception: dagster-daemon process shut down unexpectedly with return code -9"
    with service([sys.executable, "-c", f"print({line!r})"], cwd=tmp_path, log=log, environment=os.environ) as child:
        wait_until(lambda: child.poll() is not None, 10)
        with pytest.raises(ServiceDown, match=r"dagster-daemon has ended \(exit code -9\)"):
            Services({log: child}).check()


def test_a_long_log_is_rotated(tmp_path):
    """Under the server that goes on writing it; what it said before is kept beside it."""
    log = tmp_path / "api.log"
    code = """if True:
        import pathlib, time
        print("before", flush=True)
        while pathlib.Path("api.log").stat().st_size:
            time.sleep(0.01)
        print("after")
    """
    with service([sys.executable, "-c", code], cwd=tmp_path, log=log, environment=os.environ) as child:
        wait_until(log.read_text, 10)
        Services({log: child}, log_bytes=5).check()
        child.wait(timeout=10)
    assert ((tmp_path / "api.log.1").read_text(), log.read_text()) == ("before\n", "after\n")


def test_those_that_run_are_left_alone(tmp_path):
    """As long as the block lasts."""
    forever = [sys.executable, "-c", "import time; time.sleep(60)"]
    with service(forever, cwd=tmp_path, log=tmp_path / "log", environment=os.environ) as child:
        Services({tmp_path / "log": child}).check()
    assert child.poll() is not None
