"""The process that runs are forked from: it imports everything once.

    python -m mps_dagster.orchestration.runner

Dagster's code server starts a new Python for each run, which spends two CPU-seconds on imports. The launcher sends run ids
to the runner over a socket in the home. The runner reports runs whose process died. If the runner itself dies, its runs go
on, and the code server starts the next ones.
"""

from __future__ import annotations

import gc
import importlib
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import dagster as dg

from mps_dagster.control import tags
from mps_dagster.execution.staging import sweep as remove_scratch
from mps_dagster.orchestration import internals
from mps_dagster.orchestration.database import close_idle_connections
from mps_dagster.orchestration.run_request import ANSWER_S, MOST_BYTES, SOCKET, RunRequest, connect
from mps_dagster.orchestration.wakes import QUEUE, short_path, wake
from mps_dagster.settings import Settings
from mps_dagster.storage.buckets import Buckets
from mps_dagster.workflow.naming import notify_name
from mps_dagster.workflow.project import Project
from mps_dagster.workflow.shipping import shipped

POLL_S = 0.5
"""How often ended runs are looked for."""
ENDING_S = 15.0
"""How long a run may take to end whose job is gone."""
PRELOADED = (
    # Not the definitions: each run loads them, to have the workflows as they are then.
    "mps_dagster.orchestration.build",
    "mps_dagster.orchestration.instance",
    "mps_dagster.orchestration.launcher",
    # What a run would import besides; PYTHONPROFILEIMPORTTIME=1 shows what is missing.
    *internals.PRELOADED,
    "alembic.config",
    "av",
    "PIL.Image",
)
SQLITE = ("sqlalchemy.dialects.sqlite",)
POSTGRESQL = ("dagster_postgres.storage", "psycopg2", "sqlalchemy.dialects.postgresql.psycopg2")


def start_run(home: Path, run_id: str) -> bool:
    """Ask the runner to start a run's process; False if there is no runner."""
    try:
        connection = connect(home)
    except OSError:
        return False
    with connection:
        try:
            connection.sendall(RunRequest(run_id).encoded())
            answer = connection.recv(64)
        except OSError as error:
            raise internals.DagsterUserCodeUnreachableError(f"the runner did not answer: {error}") from error
    if not answer:
        raise internals.DagsterUserCodeUnreachableError("the runner closed the connection before it started the run")
    return True


def main() -> None:
    """The process behind `mps up`."""
    settings = Settings()
    for module in (*PRELOADED, *(POSTGRESQL if settings.database_url else SQLITE)):
        importlib.import_module(module)
    Project.load(settings)
    # A garbage collection in a run would copy the memory that it shares with the runner.
    gc.collect()
    gc.freeze()
    with socket.socket(socket.AF_UNIX) as listener, short_path(settings.dagster_home) as folder:
        # Left by a runner that was killed.
        Path(folder, SOCKET).unlink(missing_ok=True)
        listener.bind(f"{folder}/{SOCKET}")
        Path(folder, SOCKET).chmod(0o600)
        listener.listen()
        listener.settimeout(POLL_S)
        runs: dict[int, RunRequest] = {}
        while True:
            _answer(settings, listener, runs)
            _reap(settings, listener, runs)


def _answer(settings: Settings, listener: socket.socket, runs: dict[int, RunRequest]) -> None:
    try:
        connection, _ = listener.accept()
    except TimeoutError:
        return
    # The launcher may have gone away.
    with connection, suppress(OSError):
        connection.settimeout(ANSWER_S)
        if content := connection.recv(MOST_BYTES):
            request = RunRequest.decoded(content)
            # A run then reads only files that change after this; two hundred take three seconds.
            with suppress(OSError):
                Project.load(_with_revision(settings, request.revision))
            pid = _fork(partial(execute, request, connection), (listener,))
            runs[pid] = request
            connection.sendall(str(pid).encode())


def _with_revision(settings: Settings, revision: str) -> Settings:
    return settings.model_copy(update={"project": settings.shipped_dir / revision}) if revision else settings


def _reap(settings: Settings, listener: socket.socket, runs: dict[int, RunRequest]) -> None:
    """Report each run whose process failed, as the code server does."""
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            pid, status = ended
            request, code = runs.pop(pid, None), os.waitstatus_to_exitcode(status)
            if request and request.is_remote and not _has_another(runs, request.run_id):
                # On the control host, the delivery of events does it.
                remove_scratch(settings.scratch_dir, {request.run_id})
            if request and code and not request.serves:
                _fork(partial(_report, request.run_id, code), (listener,))


def _has_another(runs: dict[int, RunRequest], run_id: str) -> bool:
    """Whether another process of the run is on this host."""
    return any(request.run_id == run_id for request in runs.values())


def _fork(work: Callable[[], None], sockets: tuple[socket.socket, ...]) -> int:
    """Run the work in a child process, which never returns from here."""
    sys.stdout.flush()
    sys.stderr.flush()
    if pid := os.fork():
        return pid
    code = 1
    try:
        for held in sockets:
            held.close()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        work()
        close_idle_connections()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def execute(request: RunRequest, job: socket.socket | None = None) -> None:
    """As the code server's process for a run does. `job` is the connection to the job of a cluster that the run is part of."""
    # Not above: the launcher imports this module in processes that need nothing of it.
    from mps_dagster.orchestration.build import build_for_run

    run_id, pid = request.run_id, os.getpid()
    if job is not None:
        _close_or_end_with(job, request)
    if request.serves:
        from mps_dagster.orchestration.remote_worker import work

        settle_in(request)
        work(request)
        return
    with internals.capture_interrupts(), dg.DagsterInstance.get() as instance:
        run = instance.get_run_by_id(run_id)
        if run is None:
            raise LookupError(f"Dagster has no run {run_id}")
        if run.is_finished:
            # Given up before its host got to it.
            return
        if request.is_remote:
            settle_in(request)
            instance.add_run_tags(run_id, {tags.HOST: Settings().host_name})
        started = internals.EngineEventData.in_process(pid)
        instance.report_engine_event(f"Started process for run (pid: {pid}).", run, started)
        # Failures are in the event log before it raises.
        with suppress(Exception, KeyboardInterrupt, dg.DagsterExecutionInterruptedError):
            internals.execute_run(run, instance, build_for_run, run.job_name, selected_workflows(run))
        instance.report_engine_event(f"Process for run exited (pid: {pid}).", run)
        # A run that was terminated before it began would stay CANCELING until run monitoring notices it.
        run = instance.get_run_by_id(run_id)
        if run is not None and run.status is dg.DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run)
            run = instance.get_run_by_id(run_id)
        if run is not None:
            _wake(run.status)


def selected_workflows(run: dg.DagsterRun) -> tuple[str, ...]:
    """Those of the assets that a run is restricted to."""
    return tuple(sorted({key.path[0] for key in run.asset_selection or ()}))


def _close_or_end_with(job: socket.socket, request: RunRequest) -> None:
    """The launcher of one host closes the connection; a job keeps it open, and is gone when it closes."""
    if not request.is_remote:
        job.close()
        return

    def wait() -> None:
        job.settimeout(None)
        with suppress(OSError):
            job.recv(1)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(ENDING_S)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


def settle_in(request: RunRequest) -> None:
    """What a run of a cluster needs of this host: the project's files as they were at its launch, and its share of the cores."""
    settings = Settings()
    bucket = Buckets(settings).get(settings.shared_bucket)
    os.environ["MPS_PROJECT"] = str(shipped(request.revision, bucket, settings.shipped_dir))
    if request.cores:
        os.environ["MPS_CORES"] = str(request.cores)


def _wake(status: dg.DagsterRunStatus) -> None:
    """The event of the run, and the next run of the queue, need not wait for a poll."""
    home = Settings().dagster_home
    for name in (notify_name(status.value), QUEUE):
        wake(home, name)


def _report(run_id: str, code: int) -> None:
    with dg.DagsterInstance.get() as instance:
        run = instance.get_run_by_id(run_id)
        if run is not None and not run.is_finished:
            instance.report_engine_event(
                internals.get_run_crash_explanation(f"Run execution process for {run_id}", code), run
            )
            instance.report_run_failed(run)
            _wake(dg.DagsterRunStatus.FAILURE)


if __name__ == "__main__":
    main()
