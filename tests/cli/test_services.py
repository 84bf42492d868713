"""The servers that `mps up` keeps running."""

from __future__ import annotations

import os
import signal
import sys
from itertools import pairwise

import pytest
from deployments import wait_until

from mps_dagster.cli.supervision import Program, ServiceDown, Services, restart_delay_s, running_services

FOREVER = "import time; time.sleep(60)"


def program(folder, code: str, name: str = "files") -> Program:
    return Program(name, (sys.executable, "-c", code), folder, folder, dict(os.environ))


def check_until(services: Services, done, timeout_s: float = 20) -> None:
    def checked() -> bool:
        services.check()
        return done()

    wait_until(checked, timeout_s)


@pytest.mark.slow
def test_a_process_that_ends_is_reported_with_its_log(tmp_path):
    """Then `mps up` ends, and whatever supervises it starts all of them again."""
    with running_services(Services()) as services:
        services.start(program(tmp_path, "raise SystemExit(3)"))
        with pytest.raises(ServiceDown, match="files has ended") as caught:
            check_until(services, lambda: False)
    assert "exit code 3" in str(caught.value)
    assert str(tmp_path / "files.log") in caught.value.hint


@pytest.mark.slow
def test_a_process_that_ends_is_started_again_if_asked_for(tmp_path):
    """Beside the others, and as often as it ends."""
    reports = []
    with running_services(Services(restarts=True, report=reports.append)) as services:
        services.start(program(tmp_path, FOREVER, "api"))
        services.start(program(tmp_path, "print('here', flush=True); raise SystemExit(3)"))
        log = tmp_path / "files.log"
        check_until(services, lambda: log.is_file() and log.read_text().count("here") == 3)
        services.check()
    assert [report.partition(";")[0] for report in reports[:2]] == ["files has ended (exit code 3)"] * 2
    assert not any("api" in report for report in reports)


@pytest.mark.slow
def test_it_waits_longer_before_each_start_of_what_dies_at_once(tmp_path):
    now, reports = [0.0], []
    with running_services(Services(restarts=True, report=reports.append, clock=lambda: now[0])) as services:
        services.start(program(tmp_path, "raise SystemExit(3)"))
        check_until(services, lambda: len(reports) == 1)
        now[0] += 1
        check_until(services, lambda: len(reports) == 2)
        now[0] += 1
        services.check()
        assert len(reports) == 2, "it was started again too soon"
        now[0] += 1
        check_until(services, lambda: len(reports) == 3)
        # It had run long enough: the next death is a first one.
        now[0] += 4
        services.check()
        now[0] += 100
        check_until(services, lambda: len(reports) == 4)
    waits = [report.partition("started again in ")[2].partition(" s")[0] for report in reports]
    assert waits == ["1", "2", "4", "1"]


def test_the_wait_grows_to_a_minute():
    delays = [restart_delay_s(deaths) for deaths in range(1, 12)]
    assert delays[0] == 1
    assert delays[-1] == 60
    assert all(one <= other for one, other in pairwise(delays))


@pytest.mark.slow
def test_a_process_that_does_not_stop_is_killed(tmp_path):
    deaf = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    )
    with running_services(Services()) as services:
        services.start(program(tmp_path, deaf))
        wait_until((tmp_path / "files.log").read_text, 30)
        process = services._running["files"].process
    assert process.returncode == -signal.SIGKILL


@pytest.mark.slow
def test_a_long_log_is_rotated(tmp_path):
    """Under the server that goes on writing it; what it said before is kept beside it."""
    code = """if True:
        import pathlib, time
        print("before", flush=True)
        while pathlib.Path("api.log").stat().st_size:
            time.sleep(0.01)
        print("after", flush=True)
        time.sleep(60)
    """
    log = tmp_path / "api.log"
    with running_services(Services(log_bytes=5)) as services:
        services.start(program(tmp_path, code, "api"))
        wait_until(log.read_text, 30)
        check_until(services, lambda: (tmp_path / "api.log.1").exists())
        services.log_bytes = 1000
        wait_until(log.read_text, 30)
    assert ((tmp_path / "api.log.1").read_text(), log.read_text()) == ("before\n", "after\n")


@pytest.mark.slow
def test_those_that_run_are_left_alone(tmp_path):
    """As long as the block lasts."""
    with running_services(Services()) as services:
        services.start(program(tmp_path, FOREVER))
        process = services._running["files"].process
        services.check()
        assert process.poll() is None
    assert process.poll() is not None
