"""Executor that runs a run's steps in a few worker processes, each of which takes one step after another.

In a cluster, chunks of a long source are given to other hosts as well.

Dagster's multiprocess executor starts a process for each step, which takes 0.25 CPU-seconds. Events, retries, cancellation
and the handling of a process that dies are the same here.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import dagster as dg

from mps_dagster.execution.sharing import Group, Waiting
from mps_dagster.orchestration import internals
from mps_dagster.orchestration.remote_workers import RemoteWorkers
from mps_dagster.orchestration.workers import Broken, Died, Ended, Order, Run, Worker, Workers
from mps_dagster.settings import Settings
from mps_dagster.workflow.naming import StepKey

POLL_S = 0.5
"""How often interrupts and due retries are looked for; a worker's message is read at once."""
PLANNING = 2
"""Priority of steps that plan others, which wait for them: more outputs may turn up that are made together."""
INTERRUPTS = {"DagsterExecutionInterruptedError", "KeyboardInterrupt"}


def subtask_executor(settings: Settings) -> dg.ExecutorDefinition:
    """Runs as many subtasks at once as there are cores."""

    @dg.executor(name="workers", config_schema={}, requirements=dg.multiple_process_executor_requirements())
    def workers(_: dg.InitExecutorContext) -> dg.Executor:
        return StepExecutor(settings)

    return workers


def end_with_the_run(context: dg.OpExecutionContext) -> None:
    """Fail if the run ended, or was canceled, before this step began.

    A termination interrupts only steps that are running: one that is just being handed to a worker would run to its end
    and publish for a canceled run.
    """
    run = context.instance.get_run_by_id(context.run_id)
    if run is not None and (run.is_finished or run.status is dg.DagsterRunStatus.CANCELING):
        raise dg.Failure("the run had ended before this step began", allow_retries=False)


def waits_for_parts(ready: Iterable[str], unfinished: Iterable[str]) -> set[str]:
    """The steps that take the files of parts, some of which have not ended; whether well or not is their own matter."""
    making = {key.graph for key in map(StepKey.parse, unfinished) if key.is_part}
    return {step for step in ready if (key := StepKey.parse(step)).has_parts and key.graph in making}


class StepExecutor(dg.Executor):
    """Hands steps that are ready to workers, and passes their events on to Dagster."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @property
    def retries(self) -> internals.RetryMode:
        return internals.RetryMode.ENABLED

    def execute(
        self, plan_context: internals.PlanOrchestrationContext, execution_plan: internals.ExecutionPlan
    ) -> Iterator[dg.DagsterEvent]:
        pid = os.getpid()
        about = internals.EngineEventData.multiprocess(pid, step_keys_to_execute=execution_plan.step_keys_to_execute)
        yield dg.DagsterEvent.engine_event(
            plan_context, f"Executing steps in workers: parent process (pid: {pid})", about
        )
        with ExitStack() as stack:
            slots = stack.enter_context(
                internals.InstanceConcurrencyContext(plan_context.instance, plan_context.dagster_run)
            )
            active = stack.enter_context(
                internals.HoldingExecution(execution_plan, self.retries, instance_concurrency_context=slots)
            )
            run = Run(
                job=plan_context.reconstructable_job,
                record=plan_context.dagster_run,
                instance=plan_context.instance.get_ref(),
                retry_mode=self.retries.for_inner_plan(),
                load_data=execution_plan.repository_load_data,
            )
            settings, workers = self._settings, Workers(run)
            waiting = Waiting(settings.scratch_dir / run.record.run_id) if settings.share_decoding else None
            remote = None
            if settings.cluster == "ray" and settings.chunks_from_s:
                remote = stack.enter_context(RemoteWorkers(settings, plan_context.instance, run.record, workers))
            stack.enter_context(workers)
            yield from _Steps(self, plan_context, active, workers, waiting, remote).execute(settings.cores)
        yield dg.DagsterEvent.engine_event(plan_context, f"Process {pid} has executed all steps", about)


@dataclass(slots=True)
class _Steps:
    """The steps of one run."""

    _executor: StepExecutor
    _context: internals.PlanOrchestrationContext
    _active: internals.HoldingExecution
    _workers: Workers
    _waiting: Waiting | None
    """Of subtasks that share processes; None = they do not."""
    _remote: RemoteWorkers | None
    """None = all steps run here."""
    _makers: dict[Group, str] = field(default_factory=dict)
    """The worker elsewhere that makes a group's files; empty = they are made here."""
    _errors: dict[str, internals.SerializableErrorInfo] = field(default_factory=dict)
    """Of steps that were interrupted or lost their worker, by its name."""

    def execute(self, at_once: int) -> Iterator[dg.DagsterEvent]:
        interrupted = False
        while self._workers.busy or not (interrupted or self._active.is_complete):
            if self._active.check_for_interrupts():
                interrupted = True
                yield from self._interrupt()
            if not interrupted:
                yield from self._hand_out(at_once)
            yield from self._listen()
            yield from self._active.plan_events_iterator(self._context)
        yield from self._finish(interrupted)

    def _interrupt(self) -> Iterator[dg.DagsterEvent]:
        steps = self._workers.busy
        yield dg.DagsterEvent.engine_event(
            self._context,
            "The run is being terminated: interrupting its steps",
            internals.EngineEventData.interrupted(steps),
        )
        self._active.mark_interrupted()
        self._workers.interrupt()

    def _hand_out(self, at_once: int) -> Iterator[dg.DagsterEvent]:
        # One by one, as a step that begins may hold others back.
        while self._workers.busy_here < at_once and self._hold():
            steps = self._active.get_steps_to_execute(limit=1)
            if not steps:
                break
            self._made_by("", steps[0].key)
            self._workers.start(steps[0].key, self._active.get_known_state())
        if self._remote:
            yield from self._hand_elsewhere(self._remote)
        yield from self._active.concurrency_event_iterator(self._context)

    def _hold(self) -> bool:
        """Hold steps back that would only wait for others; False if there is no other step."""
        ready, busy = self._active.ready(), self._workers.busy
        held = waits_for_parts(ready, self._active.unfinished())
        if self._waiting:
            held |= self._waiting.waiting(ready, busy)
            held |= {step for step in ready if self._maker(step)}
            if any(self._priority(step) >= PLANNING for step in busy):
                held |= {step for step in ready if self._priority(step) < PLANNING}
        self._active.held = held
        return len(self._active.held) < len(ready)

    def _hand_elsewhere(self, remote: RemoteWorkers) -> Iterator[dg.DagsterEvent]:
        """Give chunks that find no room here to workers on other hosts."""
        ready = self._active.ready()
        waiting = self._waiting.waiting(ready, self._workers.busy) if self._waiting else set()
        chunks = [
            step for step in ready if StepKey.parse(step).is_chunk and self._maker(step) != "" and step not in waiting
        ]
        remote.look(len(chunks))
        for worker in remote.idle:
            step = next((step for step in chunks if self._maker(step) in (None, worker.name)), None)
            if step is None:
                continue
            if self._maker(step) is None and not remote.may_begin(worker):
                self._workers.dismiss(worker)
                continue
            chunks.remove(step)
            yield from self._give(worker, step)

    def _give(self, worker: Worker, step: str) -> Iterator[dg.DagsterEvent]:
        self._active.held = {other for other in self._active.ready() if other != step}
        if not self._active.get_steps_to_execute(limit=1):
            return
        context = self._context.for_step(self._active.get_step_by_key(step))
        yield dg.DagsterEvent.engine_event(context, f"Given to {worker.name}", internals.EngineEventData())
        group = self._made_by(worker.name, step)
        members = tuple(group.members().values()) if group else ()
        worker.order(Order(step, self._active.get_known_state(), members))

    def _made_by(self, worker: str, step: str) -> Group | None:
        """Remember who makes the files of the step's group, if it is in one."""
        group = self._waiting.group(step) if self._remote and self._waiting else None
        if group:
            self._makers[group] = worker
        return group

    def _maker(self, step: str) -> str | None:
        """The worker elsewhere that has made the files of a step's group, or makes them; "" = they are here, None = nobody yet."""
        group = self._waiting.group(step) if self._makers and self._waiting else None
        maker = self._makers.get(group) if group else None
        if maker and maker not in {worker.name for worker in self._workers.elsewhere}:
            return None
        return maker

    def _priority(self, step: str) -> int:
        return internals.priority(self._active.get_step_by_key(step))

    def _listen(self) -> Iterator[dg.DagsterEvent]:
        if not self._workers.busy:
            # Nothing to run now: a retry is not due yet.
            if not self._active.is_complete:
                time.sleep(min(POLL_S, max(0.0, self._active.sleep_interval())))
            return
        for step, message in self._workers.wait(POLL_S):
            if isinstance(message, dg.DagsterEvent):
                yield message
                self._active.handle_event(message)
                if message.is_resource_init_failure and message.engine_event_data.error:
                    yield self._failed(step, message.engine_event_data.error)
                continue
            if isinstance(message, Broken):
                self._errors[message.worker] = message.error
            elif isinstance(message, Died):
                yield from self._died(step, message)
            elif not isinstance(message, Ended):
                raise TypeError(f"a worker sent {message!r}")
            self._active.verify_complete(self._context, step)

    def _died(self, step: str, message: Died) -> Iterator[dg.DagsterEvent]:
        what = f"{message.worker} has ended in the middle of step {step}: {message.how}"
        error = internals.SerializableErrorInfo(what, [], "WorkerDied")
        context = self._context.for_step(self._active.get_step_by_key(step))
        yield dg.DagsterEvent.engine_event(context, what, internals.EngineEventData.engine_error(error))
        event = self._failed(step, error)
        yield event
        if event.is_step_failure:
            self._errors[message.worker] = error

    def _failed(self, step: str, error: internals.SerializableErrorInfo) -> dg.DagsterEvent:
        """Record that the step failed or, if its policy says so, is up for retry."""
        context = self._context.for_step(self._active.get_step_by_key(step))
        event = self._executor.log_failure_or_retry_event_after_error(context, error, self._active.get_known_state())
        self._active.handle_event(event)
        return event

    def _finish(self, interrupted: bool) -> Iterator[dg.DagsterEvent]:
        if interrupted and all(error.cls_name in INTERRUPTS for error in self._errors.values()):
            yield dg.DagsterEvent.engine_event(self._context, "All steps have ended", internals.EngineEventData())
            raise dg.DagsterExecutionInterruptedError
        if self._errors:
            errors = "\n".join(f"In {worker}: {error.to_string()}" for worker, error in self._errors.items())
            raise dg.DagsterSubprocessError(f"Steps' processes failed:\n{errors}", list(self._errors.values()))
