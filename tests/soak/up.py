"""`mps up` under something like systemd: started again a second after it has ended."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import requests
from deployments import MPS

from mps_dagster.settings import Settings
from soak.processes import CODE_CHILD, DAEMON, RUNNER, processes

START_S = 150
RESTART_S = 1.0
"""systemd's RestartSec."""


@dataclass
class Up:
    """The process of `mps up`, whichever it is now."""

    settings: Settings
    log: Path
    process: subprocess.Popen[bytes] | None = None
    ends: list[tuple[float, int]] = field(default_factory=list)
    """When it ended though nobody had stopped it, and its exit code."""
    _stopped: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._keep, name="mps-up", daemon=True)
        self._thread.start()
        deadline = time.monotonic() + START_S
        while not self.is_well():
            if time.monotonic() > deadline or self._stopped.is_set():
                self.stop()
                raise RuntimeError(f"mps up did not start: {self.log.read_text()[-3000:]}")
            time.sleep(0.5)

    def stop(self) -> float:
        """Seconds that it took."""
        self._stopped.set()
        began = time.monotonic()
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return time.monotonic() - began

    def is_well(self) -> bool:
        return all(map(self.answers, ("web", "API", "files"))) and {RUNNER, DAEMON, CODE_CHILD} <= {
            process.role for process in processes(self.settings)
        }

    def answers(self, name: str) -> bool:
        settings = self.settings
        url = {
            "web": f"{settings.ui_url}/server_info", "API": f"{settings.api_url}/health",
            "files": f"{settings.files_url}/",
        }[name]  # fmt: skip
        try:
            return requests.get(url, timeout=2).status_code < 500
        except requests.RequestException:
            return False

    def _keep(self) -> None:
        # In one thread: a process may die with the thread that started it.
        while not self._stopped.is_set():
            with self.log.open("ab") as sink:
                self.process = subprocess.Popen(
                    [MPS, "up", "--restart"], stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, env=dict(os.environ)
                )
            code = self.process.wait()
            if not self._stopped.is_set():
                self.ends.append((time.time(), code))
                self._stopped.wait(RESTART_S)
