"""Steps run one after another in the few processes of their run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest
from projects import make_project, use_project

from mps_dagster.orchestration.launcher import RunProcess
from mps_dagster.orchestration.workers import ENDING_S

pytestmark = pytest.mark.slow

RUN = """
import os, pathlib, signal, time
import dagster as dg
from mps_dagster.orchestration.executor import subtask_executor
from mps_dagster.settings import Settings

said = pathlib.Path(os.environ["SAID"])

def say(key):
    (said / f"{key}.{os.getpid()}.{time.time_ns()}").touch()

@dg.op(out=dg.DynamicOut(int))
def keys():
    for key in os.environ["KEYS"].split():
        yield dg.DynamicOutput(0, mapping_key=key)

@dg.op(retry_policy=dg.RetryPolicy(max_retries=int(os.environ.get("RETRIES", "0")), delay=float(os.environ.get("DELAY", "0.1"))))
def work(context, _: int) -> str:
    key = context.get_mapping_key()
    say(key)
    print(f"printed by {key}", flush=True)
    if key.startswith("dies") and context.retry_number == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    if key.startswith("raises"):
        raise dg.Failure("as it was told")
    if key.startswith("waits"):
        try:
            time.sleep(300)
        finally:
            say(f"ended_{key}")
    return key

@dg.op
def gather(results: list[str]) -> None:
    say("gather")

@dg.job(executor_def=subtask_executor(Settings(cores=2)))
def picture():
    gather(keys().map(work).collect())

if __name__ == "__main__":
    with dg.DagsterInstance.get() as instance:
        result = dg.execute_job(dg.reconstructable(picture), instance=instance, raise_on_error=False)
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Starts a process that runs the job with these keys; its instance is that of dagster.yaml."""
    (tmp_path / "said").mkdir()
    (tmp_path / "run.py").write_text(RUN)
    use_project(make_project(tmp_path), monkeypatch, SAID=str(tmp_path / "said"))
    started = []

    def start(keys: str, retries: int = 0) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "KEYS": keys, "RETRIES": str(retries)}
        process = subprocess.Popen(
            [sys.executable, str(tmp_path / "run.py")], env=environment, stderr=subprocess.DEVNULL, cwd=tmp_path
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def pids_by_step(tmp_path):
    """What steps said of themselves: process ids by mapping key, in the order of time."""

    def read() -> dict[str, list[int]]:
        result: dict[str, list[int]] = {}
        for path in sorted((tmp_path / "said").iterdir(), key=lambda path: path.name.rpartition(".")[2]):
            result.setdefault(path.name.split(".")[0], []).append(int(path.name.split(".")[1]))
        return result

    return read


def finished(process: subprocess.Popen[bytes]) -> tuple[dg.DagsterRun, list[dg.EventLogEntry]]:
    process.wait(60)
    with dg.DagsterInstance.get() as instance:
        [run] = instance.get_runs()
        return run, list(instance.all_logs(run.run_id))


def wait_until(done, timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.05)


def gone(pid: int) -> bool:
    """Or a zombie, which has no parent to wait for it in this container."""
    process = RunProcess(pid, time.time())
    return not process.alive or Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def outcomes(events) -> dict[str, str]:
    """The last that was said of each step."""
    kinds = {"STEP_SUCCESS", "STEP_FAILURE", "STEP_UP_FOR_RETRY", "STEP_SKIPPED"}
    return {entry.step_key: said_by(entry) for entry in events if said_by(entry) in kinds}


def said_by(entry: dg.EventLogEntry) -> str:
    return entry.dagster_event.event_type_value if entry.dagster_event else ""


def test_steps_share_as_many_processes_as_there_are_cores(run, pids_by_step):
    """And no more, however many there are."""
    record, events = finished(run("a b c d e f g h"))
    assert record.status is dg.DagsterRunStatus.SUCCESS
    assert set(outcomes(events).values()) == {"STEP_SUCCESS"}
    assert len(outcomes(events)) == 10
    pids = pids_by_step()
    assert len({pid for each in pids.values() for pid in each}) <= 2
    assert set(pids) == {*"abcdefgh", "gather"}


def test_each_step_has_a_log_of_its_own(run):
    """Though several ran in one process, one after another."""
    record, events = finished(run("a b c"))
    with dg.DagsterInstance.get() as instance:
        captured = [entry.dagster_event for entry in events if said_by(entry) == "LOGS_CAPTURED"]
        printed = {}
        for event in captured:
            data = event.logs_captured_data
            key = instance.compute_log_manager.build_log_key_for_run(record.run_id, data.file_key)
            [step] = data.step_keys
            printed[step] = (instance.compute_log_manager.get_log_data(key).stdout or b"").decode()
            assert instance.compute_log_manager.is_capture_complete(key)
    assert {step: text for step, text in printed.items() if text} == {
        f"work[{key}]": f"printed by {key}\n" for key in "abc"
    }


@pytest.mark.parametrize(
    ("retries", "status", "outcome", "gathered"),
    [(0, "FAILURE", "STEP_FAILURE", False), (1, "SUCCESS", "STEP_SUCCESS", True)],
    ids=["no retry", "its policy says so"],
)
def test_a_killed_worker_is_one_failed_step(run, pids_by_step, retries, status, outcome, gathered):
    """Siblings go on in another process; it says by what it was killed."""
    record, events = finished(run("dies a b c", retries))
    assert record.status.value == status
    by_step = outcomes(events)
    assert by_step["work[dies]"] == outcome
    assert {by_step[f"work[{key}]"] for key in "abc"} == {"STEP_SUCCESS"}
    assert ("gather" in by_step) is gathered
    assert any("terminated by signal 9 (SIGKILL)" in entry.user_message for entry in events)
    assert len(pids_by_step()["dies"]) == 1 + retries


def test_a_step_that_fails_leaves_its_worker_to_the_next(run, pids_by_step):
    """Its failure is the step's, not the process's."""
    record, events = finished(run("raises a b c"))
    assert record.status is dg.DagsterRunStatus.FAILURE
    assert record.tags["dagster/failure_reason"] == "STEP_FAILURE"
    assert {key: value for key, value in outcomes(events).items() if value == "STEP_FAILURE"} == {
        "work[raises]": "STEP_FAILURE"
    }
    assert len({pid for each in pids_by_step().values() for pid in each}) <= 2


def test_a_run_that_is_terminated_ends_its_steps(run, pids_by_step):
    """They come to their `finally`; what had not begun does not."""
    process = run("waits_a waits_b c")
    wait_until(lambda: {"waits_a", "waits_b"} <= set(pids_by_step()))
    with dg.DagsterInstance.get() as instance:
        # As the launcher does.
        instance.report_run_canceling(instance.get_runs()[0])
    process.send_signal(signal.SIGINT)
    record, _ = finished(process)
    assert record.status is dg.DagsterRunStatus.CANCELED
    assert {"ended_waits_a", "ended_waits_b"} <= set(pids_by_step())
    assert "c" not in pids_by_step()


def test_a_step_ends_with_its_run(run, pids_by_step):
    """Also one whose sibling is younger, and has a copy of its pipe; also a worker that waits."""
    process = run("waits_a waits_b")
    wait_until(lambda: {"waits_a", "waits_b"} <= set(pids_by_step()))
    pids = {pid for each in pids_by_step().values() for pid in each}
    process.kill()
    wait_until(lambda: all(gone(pid) for pid in pids), ENDING_S + 10)
    assert {"ended_waits_a", "ended_waits_b"} <= set(pids_by_step())


def test_an_idle_worker_ends_with_its_run(run, pids_by_step):
    """It waits for a step that will not come."""
    process = run("waits_a b")
    wait_until(lambda: {"waits_a", "b"} <= set(pids_by_step()))
    time.sleep(1)
    process.kill()
    wait_until(lambda: all(gone(pid) for each in pids_by_step().values() for pid in each), ENDING_S + 10)


def test_a_retry_that_waits_keeps_no_core_busy(run, monkeypatch):
    """Dagster's multiprocess executor uses all of one meanwhile."""
    used = []
    for delay in ("0.1", "10"):
        monkeypatch.setenv("DELAY", delay)
        before = os.times()
        run("dies", retries=1).wait(60)
        used.append(os.times().children_user - before.children_user)
    assert used[1] - used[0] < 3
