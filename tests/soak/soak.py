"""One soak, from the first upload to the verdict."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from postgresql import postgresql

from mps_dagster.control.deployment import Deployment
from mps_dagster.control.launching import launch_workflow
from mps_dagster.control.task_run import run_id_of
from mps_dagster.notify.outbox import Outbox
from mps_dagster.settings import Settings
from mps_dagster.storage.s3 import make_client
from mps_dagster.workflow.project import Project
from soak.faults import Injector, Means
from soak.history import Events, History
from soak.processes import SERVERS, Process, alive, processes
from soak.report import report
from soak.s3_server import Proxy, s3_server
from soak.target import BUCKET_IN, BUCKET_OUT, free_bytes, left_in_scratch, make_target
from soak.up import Up
from soak.uploads import Uploader, make_clips
from soak.verdict import Verdict

SCRATCH = "48m"
"""Size of the small scratch disk."""
GROWTH = 12
"""Open files and threads that a server may have more after some uploads: pools fill up."""
STOP_S = 15


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done."""

    kills: int
    seed: int
    postgresql: bool = False
    pause_s: tuple[float, float] = (0.5, 4.0)
    ahead: int = 6
    quiet_s: float = 900
    """How long it may take at most until all is done after the last fault."""
    batch: int = 4
    """Uploads in each of the two batches after the faults."""
    folder: Path | None = None
    """Kept; by default a temporary one."""


@dataclass(frozen=True)
class Soak:
    """The parts of a soak that runs."""

    plan: Plan
    settings: Settings
    up: Up
    uploader: Uploader
    history: History
    events: Events
    injector: Injector
    verdict: Verdict
    say: Callable[[str], object]

    def run(self) -> list[str]:
        """The violations."""
        free_before = free_bytes(self.settings.scratch_dir)
        self.up.start()
        self.events.start()
        self.uploader.start()
        self.injector.run(self.plan.kills, self.plan.pause_s)
        self.uploader.stop()
        self.say(f"{self.injector.kills} kills, {len(self.uploader.uploads)} uploads; waiting until all is quiet")
        self._wait_until_quiet()
        self._batches()
        self.verdict.check(self.uploader.uploads)
        tables = report(self.injector.faults, self.uploader.uploads, self.verdict, self.history)
        self._run_again()
        self.verdict.check_rest(free_before, free_bytes(self.settings.scratch_dir))
        self._stop()
        if self.uploader.problem:
            self.verdict.violations.append(f"the soak itself could not upload: {self.uploader.problem}")
        self.say(tables)
        return self.verdict.violations

    def _wait_until_quiet(self) -> None:
        began, uploads = time.monotonic(), self.uploader.uploads
        while time.monotonic() < began + self.plan.quiet_s:
            if self.history.ended(uploads) == len(uploads) and self._is_quiet():
                self.say(f"quiet after {time.monotonic() - began:.0f} s")
                return
            time.sleep(1)
        open_ones = [upload.key for upload in uploads if not self.history.has_ended(upload)]
        self.verdict.violations.append(f"it was not quiet within {self.plan.quiet_s:g} s, {open_ones} are not done")

    def _is_quiet(self) -> bool:
        with suppress(Exception):
            sent = all(self.events.of(attempts[-1].root) for attempts in self.history.by_place.values())
            empty = not left_in_scratch(self.settings)
            return sent and empty and not self.history.open_runs() and not Outbox.of(self.settings).waiting()
        return False

    def _batches(self) -> None:
        """Two small batches without faults: the servers must not have grown after the second one."""
        sizes: list[dict[int, tuple[int, int]]] = []
        for _ in range(2):
            self.uploader.batch(self.plan.batch)
            self._wait_until_quiet()
            sizes.append({p.pid: p.resources for p in self._servers()})
        for process in self._servers():
            before, now = (size.get(process.pid, (0, 0)) for size in sizes)
            if before != (0, 0) and any(n - b > GROWTH for b, n in zip(before, now, strict=True)):
                self.verdict.violations.append(f"{process.role} grew from {before} open files and threads to {now}")

    def _servers(self) -> list[Process]:
        return [process for process in processes(self.settings) if process.role in SERVERS]

    def _run_again(self) -> None:
        """Uploads that had a hard time can be run again, and find everything made."""
        deployment = Deployment.of(self.settings)
        good = [upload for upload in self.uploader.uploads if upload.kind == "good"]
        again = sorted(good, key=lambda upload: -len(self.history.by_place.get(upload.place, [])))[: self.plan.batch]
        tasks = {
            upload: launch_workflow(deployment, deployment.workflow(upload.workflow), upload.key) for upload in again
        }
        began = time.monotonic()
        while time.monotonic() < began + 180:
            runs = {upload: deployment.dagster.newest_of(run_id_of(task)) for upload, task in tasks.items()}
            if all(run and run.status in ("SUCCESS", "FAILURE", "CANCELED") for run in runs.values()):
                break
            time.sleep(1)
        self.verdict.violations += [
            f"{upload.key}, run again: {run.status if run else 'no run'}"
            for upload, run in runs.items() if not run or run.status != "SUCCESS"
        ]  # fmt: skip
        self._wait_until_quiet()

    def _stop(self) -> None:
        every = processes(self.settings)
        seconds = self.up.stop()
        self.events.stop()
        deadline = time.monotonic() + STOP_S
        while time.monotonic() < deadline and any(alive(process.pid) for process in every):
            time.sleep(0.2)
        left = [process.line[:100] for process in every if alive(process.pid)]
        if left or seconds > STOP_S:
            self.verdict.violations.append(f"mps up took {seconds:.0f} s to stop and left {left}")
        # Exit code 1 of `mps up --restart` would be a death of its own.
        killed = [fault.at for fault in self.injector.faults if fault.kind == "kill mps up"]
        self.verdict.violations += [
            f"mps up ended by itself with exit code {code}, see {self.up.log}"
            for at, code in self.up.ends if not any(at - 10 < kill < at + 1 for kill in killed)
        ]  # fmt: skip


def soak(plan: Plan, say: Callable[[str], object] = print) -> list[str]:
    """Run it; return the violations."""
    with ExitStack() as stack:
        say(f"seed {plan.seed}, records in {'PostgreSQL' if plan.postgresql else 'SQLite'}")
        folder = plan.folder or Path(
            stack.enter_context(TemporaryDirectory(prefix="mps-soak-", ignore_cleanup_errors=True))
        )
        database = stack.enter_context(postgresql()) if plan.postgresql else None
        address, s3_pid = stack.enter_context(s3_server())
        proxy = Proxy(address)
        stack.enter_context(patch.dict(os.environ))
        settings = make_target(folder, proxy.address, database.url if database else "")
        is_small = stack.enter_context(_small_disk(settings.scratch_dir))
        if not is_small:
            say("nothing can be mounted here: the scratch disk is not filled")
        up = Up(settings, folder / "up.log")
        stack.callback(_end_all, settings)
        stack.callback(up.stop)
        means = Means(settings, up, proxy, s3_pid, is_small, database)
        s3 = make_client(settings.s3.model_copy(update={"endpoint_url": address}))
        for bucket in (BUCKET_IN, BUCKET_OUT):
            s3.create_bucket(Bucket=bucket)
        return _soak(plan, means, s3, say).run()


def _soak(plan: Plan, means: Means, s3: Any, say: Callable[[str], object]) -> Soak:
    settings, began = means.settings, time.monotonic()
    history, events = History(settings), Events(settings)
    clips = make_clips(settings, settings.home.parent)
    uploader = Uploader(settings, s3, clips, random.Random(plan.seed + 1), history, plan.ahead)

    def timed(what: str) -> None:
        say(f"{time.monotonic() - began:7.1f} s  {what}")

    return Soak(
        plan, settings, means.up, uploader, history, events, Injector(means, random.Random(plan.seed), say=timed),
        Verdict(settings, history, events, dict(Project.load(settings).by_name)), say,
    )  # fmt: skip


def _end_all(settings: Settings) -> None:
    """After an interrupted soak: runs outlive `mps up`."""
    for process in processes(settings):
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)


@contextmanager
def _small_disk(folder: Path) -> Iterator[bool]:
    """A disk of its own at the folder, if this process may mount one."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SCRATCH}", "mps-soak", str(folder)], capture_output=True, check=False
    )
    try:
        yield mounted.returncode == 0
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", "-l", str(folder)], check=False)
