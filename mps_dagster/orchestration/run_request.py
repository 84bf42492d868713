"""What the runner is asked over its socket in the home, and the jobs of a cluster that ask it.

Imports nothing that takes time: a job's own process is only this.
"""

from __future__ import annotations

import json
import shlex
import socket
from dataclasses import asdict, dataclass
from pathlib import Path

from mps_dagster.orchestration.wakes import short_path

SOCKET = "runner.sock"
ANSWER_S = 10.0
MOST_BYTES = 4096
MODULE = "mps_dagster.orchestration.remote_run"


@dataclass(frozen=True, slots=True)
class RunRequest:
    """Start the process of a run, or one that takes steps of a run that is executed elsewhere."""

    run_id: str
    revision: str = ""
    """Of the project's files, for a run of a cluster (workflow/shipping.py); empty = those of this host."""
    cores: int = 0
    """What the run was given of a host; 0 = all."""
    serves: str = ""
    """`host:port/job`: where the run's process gives out steps, and our own job; empty = execute the run itself."""

    @property
    def is_remote(self) -> bool:
        """Whether it belongs to a job of a cluster: the run ends with the job, and the job's process with the run."""
        return bool(self.revision)

    def command(self, code: str) -> str:
        """For the shell of the host that gets the job; its Python may lie elsewhere than ours. `code` is its version."""
        arguments = [MODULE, self.run_id, self.revision, code, str(self.cores), *([self.serves] if self.serves else [])]
        return f'exec "${{MPS_PYTHON:-python3}}" -m {shlex.join(arguments)}'

    def encoded(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decoded(cls, content: bytes) -> RunRequest:
        return cls(**json.loads(content))


def connect(home: Path) -> socket.socket:
    """Raise `OSError` if there is no runner. `home` is Dagster's."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(ANSWER_S)
    try:
        with short_path(home) as folder:
            connection.connect(f"{folder}/{SOCKET}")
    except OSError:
        connection.close()
        raise
    return connection
