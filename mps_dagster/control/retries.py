"""Which runs that failed are run again, and when."""

from __future__ import annotations

from collections.abc import Mapping

from mps_dagster.control import tags
from mps_dagster.control.causes import NOT_LOADED
from mps_dagster.control.task_run import RunRecord

DELAYS_S = (10.0, 60.0, 300.0)
"""Before the first retry, the second, and all others: a process is back in seconds, a host or a bucket in minutes."""


def can_help(record: RunRecord, reason: str) -> bool:
    """Whether the same run can succeed later. `reason` is Dagster's failure reason, empty if nobody knows it.

    One failure that passes is enough: the outputs that failed for good take no time to fail again.
    """
    if record.status == "CANCELING" or reason == "JOB_INITIALIZATION_FAILURE" or record.cause == NOT_LOADED:
        return False
    failed = [step for step in record.steps if step.status == "failure"]
    if reason != "STEP_FAILURE" or not failed:
        # The run's process died, or was never started.
        return True
    # A step without our metadata died with its process.
    return any(step.metadata.get("retryable", True) for step in failed)


def delay_s(retries: int) -> float:
    """How long the next retry waits after so many."""
    return DELAYS_S[min(retries, len(DELAYS_S) - 1)]


def is_due(run_tags: Mapping[str, str], now_s: float) -> bool:
    """Whether a run in the queue may start. A run that a user repeats has its predecessor's tags, and does not wait.

    The time is by the clock of the host on which the run failed; no retry waits longer than the longest delay for that.
    """
    wait_s = float(run_tags.get(tags.NOT_BEFORE, "0")) - now_s
    return tags.RETRY_NUMBER not in run_tags or wait_s <= 0 or wait_s > DELAYS_S[-1]
