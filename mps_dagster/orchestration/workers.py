"""The worker processes of one run. Each takes one step after another; one that is killed fails only its step.

They are forked from the run's process, which has everything loaded; of a cluster's run, some may be on other hosts
(remote_workers.py).
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any, Self

import dagster as dg

from mps_dagster.execution.sharing import Member
from mps_dagster.orchestration import internals
from mps_dagster.orchestration.database import close_idle_connections

ENDING_S = 10
"""How long a step may take to end its ffmpeg and to remove its drafts."""
PROCESSES: Any = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
"""macOS's own libraries do not survive a fork."""


@dataclass(frozen=True, slots=True)
class Run:
    """What a worker needs of its run."""

    job: internals.ReconstructableJob
    record: dg.DagsterRun
    instance: internals.InstanceRef
    retry_mode: internals.RetryMode
    load_data: internals.RepositoryLoadData | None


@dataclass(frozen=True, slots=True)
class Order:
    """One step to run."""

    step: str
    known_state: internals.KnownExecutionState
    members: tuple[Member, ...] = ()
    """Subtasks that are made together with this one, for another host: this one has them on its disk."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A step has ended; its events tell how."""


@dataclass(frozen=True, slots=True)
class Broken:
    """A step was interrupted, or Dagster itself raised."""

    worker: str
    error: internals.SerializableErrorInfo


@dataclass(frozen=True, slots=True)
class Died:
    """A worker died in the middle of its step."""

    worker: str
    how: str


Message = dg.DagsterEvent | Ended | Broken | Died


@dataclass(slots=True, kw_only=True)
class Worker:
    """A process that is given steps through a pipe."""

    name: str
    pipe: Connection
    host: str = ""
    """Empty = this one."""
    step: str | None = None
    """What it works on."""

    def order(self, order: Order) -> None:
        self.step = order.step
        # That a worker has just died shows when its pipe is read.
        with suppress(OSError):
            self.pipe.send(order)

    def receive(self) -> Message:
        try:
            message: Message = self.pipe.recv()
        except (EOFError, OSError):
            return Died(self.name, self.how_it_ended())
        return message

    def dismiss(self) -> None:
        """Have it end after its step."""
        with suppress(OSError):
            self.pipe.send(None)

    def interrupt(self) -> None:
        raise NotImplementedError

    def how_it_ended(self) -> str:
        raise NotImplementedError


@dataclass(slots=True, kw_only=True)
class LocalWorker(Worker):
    """Forked from the run's process."""

    process: multiprocessing.process.BaseProcess

    @classmethod
    def start(cls, run: Run) -> Self:
        ours, theirs = PROCESSES.Pipe()
        process = PROCESSES.Process(target=_work, args=(theirs, run, os.getpid()), daemon=True)
        close_idle_connections()
        process.start()
        # Else the worker's end would not be noticed.
        theirs.close()
        return cls(name=f"process {process.pid}", pipe=ours, process=process)

    def interrupt(self) -> None:
        with suppress(ProcessLookupError):
            if self.process.pid:
                os.kill(self.process.pid, signal.SIGINT)

    def how_it_ended(self) -> str:
        self.process.join()
        return _how(self.process.exitcode)

    def end(self, deadline: float) -> None:
        self.process.join(max(0.0, deadline - time.monotonic()))
        self.process.kill()
        self.process.join()


def _how(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return f"it was terminated by signal {-exit_code} ({signal.Signals(-exit_code).name})"
    return f"it exited with code {exit_code}"


@dataclass(slots=True)
class Workers:
    """The workers of a run, started when there is work."""

    run: Run
    _local: list[LocalWorker] = field(default_factory=list)
    elsewhere: list[Worker] = field(default_factory=list)
    """Those on other hosts."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End all workers. One that still has a step is interrupted first."""
        self.interrupt()
        for worker in self._all:
            worker.dismiss()
        deadline = time.monotonic() + ENDING_S
        for worker in self._local:
            worker.end(deadline)

    @property
    def _all(self) -> Sequence[Worker]:
        return [*self._local, *self.elsewhere]

    @property
    def busy(self) -> Sequence[str]:
        """The keys of the steps that run now."""
        return [worker.step for worker in self._all if worker.step is not None]

    @property
    def busy_here(self) -> int:
        """How many steps run on this host."""
        return sum(worker.step is not None for worker in self._local)

    def start(self, step: str, known_state: internals.KnownExecutionState) -> None:
        """Start a step on this host."""
        self._local = [worker for worker in self._local if worker.step is not None or worker.process.is_alive()]
        worker = next((worker for worker in self._local if worker.step is None), None)
        if worker is None:
            worker = LocalWorker.start(self.run)
            self._local.append(worker)
        worker.order(Order(step, known_state))

    def wait(self, timeout_s: float) -> Iterator[tuple[str, Message]]:
        """The workers' messages, each with its step."""
        # One elsewhere may be gone before it is given a step.
        by_pipe = {worker.pipe: worker for worker in self._all if worker.step is not None or worker.host}
        for pipe in wait(list(by_pipe), timeout_s):
            worker = by_pipe[pipe]  # type: ignore[index]
            step, message = worker.step, worker.receive()
            if not isinstance(message, dg.DagsterEvent):
                worker.step = None
            if isinstance(message, Died):
                self._remove(worker)
            if step is not None:
                yield step, message

    def _remove(self, worker: Worker) -> None:
        self._local = [other for other in self._local if other is not worker]
        self.elsewhere = [other for other in self.elsewhere if other is not worker]

    def dismiss(self, worker: Worker) -> None:
        """Let one of another host go that has no step."""
        worker.dismiss()
        worker.pipe.close()
        self._remove(worker)

    def interrupt(self) -> None:
        for worker in self._all:
            if worker.step is not None:
                worker.interrupt()


def _work(pipe: Connection, run: Run, parent: int) -> None:
    """A local worker's main function: works until it receives None or the run's process is gone."""
    # The run's process defers interrupts; here one ends a worker that waits.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=_end_after, args=(parent,), name="end-with-the-run", daemon=True).start()

    def orders() -> Iterator[Order]:
        # Workers forked later hold a copy of the run's end of this pipe, so it may stay open after the run is gone.
        while os.getppid() == parent and (order := pipe.recv()) is not None:
            yield order

    take_steps(run, orders(), f"process {os.getpid()}", pipe.send)


def take_steps(run: Run, orders: Iterable[Order], name: str, send: Callable[[Message], None]) -> None:
    """Carry out one step after another, and send their events."""
    with suppress(KeyboardInterrupt, EOFError, BrokenPipeError), dg.DagsterInstance.from_ref(run.instance) as instance:
        # Once for all steps, as it takes half of a plan's time.
        config = internals.ResolvedRunConfig.build(run.job.get_definition(), run.record.run_config)
        for order in orders:
            with internals.capture_interrupts():
                for message in _step(run, order, config, instance, name):
                    send(message)
    close_idle_connections()


def _step(
    run: Run, order: Order, config: internals.ResolvedRunConfig, instance: dg.DagsterInstance, name: str
) -> Iterator[Message]:
    try:
        plan = internals.ExecutionPlan.build(
            run.job.get_definition(), config, step_keys_to_execute=[order.step], known_state=order.known_state,
            repository_load_data=run.load_data,
        )  # fmt: skip
        yield from internals.execute_plan_iterator(
            plan, run.job, run.record, instance, run.retry_mode, run.record.run_config
        )
    except (Exception, KeyboardInterrupt, dg.DagsterExecutionInterruptedError):
        yield Broken(name, internals.serializable_error_info_from_exc_info(sys.exc_info()))
    else:
        yield Ended()


def _end_after(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    end_this_process()


def end_this_process() -> None:
    """Called in another than the main thread."""
    # As Dagster's Terminate does: ends ffmpeg and removes drafts.
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(ENDING_S)
    os._exit(1)
