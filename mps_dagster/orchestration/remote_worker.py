"""A process that takes steps of a run whose own process is on another host (remote_workers.py)."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection
from queue import SimpleQueue

import dagster as dg

from mps_dagster.execution.sharing import register
from mps_dagster.orchestration import internals
from mps_dagster.orchestration.build import build_for_run
from mps_dagster.orchestration.remote_workers import Interrupt, Joined, keep_alive
from mps_dagster.orchestration.run_request import RunRequest
from mps_dagster.orchestration.runner import selected_workflows
from mps_dagster.orchestration.workers import Broken, Message, Order, Run, end_this_process, take_steps
from mps_dagster.settings import Settings


class RunLeft(EOFError):
    """This process was told to end, but not by its run."""


def work(request: RunRequest) -> None:
    """Take steps until the run needs no more, or is gone."""
    settings = Settings()
    with dg.DagsterInstance.get() as instance:
        record = instance.get_run_by_id(request.run_id)
        if record is None or record.is_finished:
            return
        run = Run(
            job=internals.job_of(record, build_for_run, record.job_name, selected_workflows(record)),
            record=record, instance=instance.get_ref(),
            retry_mode=internals.RetryMode.ENABLED.for_inner_plan(), load_data=None,
        )  # fmt: skip
    run.job.get_definition()
    address, _, job = request.serves.partition("/")
    host, _, port = address.rpartition(":")
    # The run has ended meanwhile, or had this worker given up.
    with suppress(OSError, EOFError, AuthenticationError):
        pipe = Client((host, int(port)), authkey=settings.ray.secret.encode())
        keep_alive(pipe)
        pipe.send(Joined(job, settings.host_name, os.getpid()))
        orders = Orders(pipe, settings, request.run_id)
        take_steps(run, orders, f"process {os.getpid()} on {settings.host_name}", orders.answer)
        # The run sees at once that this worker is gone.
        pipe.close()


class Orders:
    """The steps that the run gives out; a thread reads them, as the run may also interrupt the one at hand."""

    def __init__(self, pipe: Connection, settings: Settings, run_id: str) -> None:
        self._pipe, self._run_dir = pipe, settings.scratch_dir / run_id
        self._queue: SimpleQueue[Order | None] = SimpleQueue()
        self._interrupted = False
        threading.Thread(target=self._read, daemon=True).start()

    def __iter__(self) -> Iterator[Order]:
        while (order := self._queue.get()) is not None:
            register(self._run_dir, order.members)
            yield order

    def answer(self, message: Message) -> None:
        """Raise `RunLeft` for a step that was interrupted, but not by the run: it gives the step to another worker."""
        if isinstance(message, Broken) and not self._interrupted:
            raise RunLeft
        self._pipe.send(message)

    def _read(self) -> None:
        with suppress(EOFError, OSError):
            while (message := self._pipe.recv()) is not None:
                if isinstance(message, Interrupt):
                    self._interrupted = True
                    break
                self._queue.put(message)
            else:
                self._queue.put(None)
                return
        end_this_process()
