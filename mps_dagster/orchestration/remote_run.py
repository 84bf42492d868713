"""The process of a Ray job, on the host that got the run: has this host's runner start it, and waits for its end.

    python -m mps_dagster.orchestration.remote_run RUN_ID REVISION CODE CORES [ADDRESS]

With the address of the run's process, which is on another host, it takes steps of the run.

SIGTERM, which Ray sends to stop a job, ends the run as Dagster ends one. If this process is killed, as with Ray's part of the
host, the run ends, too. Without a runner, the run is executed here.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from mps_dagster.control.code_version import code_version
from mps_dagster.orchestration.run_request import MOST_BYTES, RunRequest, connect


def main(request: RunRequest, code: str) -> None:
    if code != code_version():
        _refuse(request, code)
    try:
        connection = connect(Path(os.environ["MPS_HOME"]) / "dagster")
    except OSError as error:
        print(f"no runner on this host: {error}", file=sys.stderr)  # noqa: T201
        from mps_dagster.orchestration.runner import execute

        execute(request)
        return
    with connection:
        connection.sendall(request.encoded())
        pid = int(connection.recv(64))
        signal.signal(signal.SIGTERM, lambda *_: _interrupt(pid))
        # Without a timeout: the connection is open as long as the run's processes.
        connection.settimeout(None)
        while connection.recv(MOST_BYTES):
            pass


def _interrupt(pid: int) -> None:
    os.kill(pid, signal.SIGINT)


def _refuse(request: RunRequest, code: str) -> None:
    """Nobody looks into the log of a job; the run says why it failed."""
    import dagster as dg

    host = os.environ.get("MPS_HOST_NAME", "this host")
    problem = f"{host} has mps_dagster {code_version()}, and the run needs {code}: install the same on all hosts"
    with dg.DagsterInstance.get() as instance:
        run = instance.get_run_by_id(request.run_id)
        # A run that goes on elsewhere does without this host.
        if run and not request.serves:
            instance.report_run_failed(run, problem)
    raise SystemExit(problem)


if __name__ == "__main__":
    run_id, revision, code, cores, *serves = sys.argv[1:]
    main(RunRequest(run_id, revision, int(cores), *serves), code)
