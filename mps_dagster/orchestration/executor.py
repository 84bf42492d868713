"""Executor that runs a run's steps in a few worker processes, each of which takes one step after another.

Dagster's multiprocess executor starts a process for each step, which takes 0.25 CPU-seconds. Events, retries, cancellation
and the handling of a process that dies are the same here.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg

from mps_dagster.execution.sharing import Waiting
from mps_dagster.orchestration import internals
from mps_dagster.orchestration.workers import Broken, Died, Ended, Run, Workers
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
        return StepExecutor(settings.cores, settings.scratch_dir if settings.share_decoding else None)

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

    def __init__(self, at_once: int, scratch: Path | None = None) -> None:
        self._at_once = at_once
        self._scratch = scratch
        """Where subtasks share processes; None = they do not."""

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
                internals.HoldingExecution(
                    execution_plan, self.retries, max_concurrent=self._at_once, instance_concurrency_context=slots
                )
            )
            run = Run(
                job=plan_context.reconstructable_job,
                record=plan_context.dagster_run,
                instance=plan_context.instance.get_ref(),
                retry_mode=self.retries.for_inner_plan(),
                load_data=execution_plan.repository_load_data,
            )
            waiting = Waiting(self._scratch / run.record.run_id) if self._scratch else None
            steps = _Steps(self, plan_context, active, stack.enter_context(Workers(run)), waiting)
            yield from steps.execute(self._at_once)
        yield dg.DagsterEvent.engine_event(plan_context, f"Process {pid} has executed all steps", about)


@dataclass(slots=True)
class _Steps:
    """The steps of one run."""

    _executor: StepExecutor
    _context: internals.PlanOrchestrationContext
    _active: internals.HoldingExecution
    _workers: Workers
    _waiting: Waiting | None
    _errors: dict[int, internals.SerializableErrorInfo] = field(default_factory=dict)
    """Of steps that were interrupted or lost their worker, by process id."""

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
        while len(self._workers.busy) < at_once and self._hold():
            steps = self._active.get_steps_to_execute(limit=1)
            if not steps:
                break
            self._workers.start(steps[0].key, self._active.get_known_state())
        yield from self._active.concurrency_event_iterator(self._context)

    def _hold(self) -> bool:
        """Hold steps back that would only wait for others; False if there is no other step."""
        ready, busy = self._active.ready(), self._workers.busy
        held = waits_for_parts(ready, self._active.unfinished())
        if self._waiting:
            held |= self._waiting.waiting(ready, busy)
            if any(self._priority(step) >= PLANNING for step in busy):
                held |= {step for step in ready if self._priority(step) < PLANNING}
        self._active.held = held
        return len(self._active.held) < len(ready)

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
                self._errors[message.pid] = message.error
            elif isinstance(message, Died):
                yield from self._died(step, message)
            elif not isinstance(message, Ended):
                raise TypeError(f"a worker sent {message!r}")
            self._active.verify_complete(self._context, step)

    def _died(self, step: str, message: Died) -> Iterator[dg.DagsterEvent]:
        what = f"process {message.pid} has ended in the middle of step {step}: {message.how}"
        error = internals.SerializableErrorInfo(what, [], "WorkerDied")
        context = self._context.for_step(self._active.get_step_by_key(step))
        yield dg.DagsterEvent.engine_event(context, what, internals.EngineEventData.engine_error(error))
        event = self._failed(step, error)
        yield event
        if event.is_step_failure:
            self._errors[message.pid] = error

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
            errors = "\n".join(f"In process {pid}: {error.to_string()}" for pid, error in self._errors.items())
            raise dg.DagsterSubprocessError(f"Steps' processes failed:\n{errors}", list(self._errors.values()))
