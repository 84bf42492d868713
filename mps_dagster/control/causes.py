"""Describes in words why a run or step died without reporting it, from Dagster's log."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

ABORTED = "the task was aborted"
NOT_LOADED = "the workflow could not be loaded: its file is gone or not valid"
_KILLED = "{} was killed ({}), by hand or because the host ran out of memory"
_OF_A_RUN = (
    (re.compile(r"terminated by signal 9 \((SIGKILL)\)"), _KILLED.format("the run's process", "{}")),
    (re.compile(r"terminated by signal \d+ \((\w+)\)"), "the run's process was ended by {}"),
    (re.compile(r"exited with code (\d+)"), "the run's process ended with code {}"),
    (re.compile(r"the run's process \d+ is gone()"), "the run's process is gone: it was killed, or its host went down"),
    (re.compile(r"longer than (\d+) seconds to start"), "the run's process did not start within {} s"),
    (re.compile(r"maximum runtime of (\d+) seconds"), "the run took longer than {} s"),
    (re.compile(r"interrupted unexpectedly()"), "the run's process was ended from outside, though nobody aborted the task"),
    (re.compile(r"reach the user code server after()"), "the run could not be started: the project's code could not be reached"),
    (re.compile(r"unrecoverable error while dequeuing()"), "the run could not be started; its page in Dagster says why"),
    (re.compile(r"Could not load job definition()"), NOT_LOADED),
)  # fmt: skip
_OF_A_STEP = (
    (re.compile(r"terminated by signal 9 \((SIGKILL)\)"), _KILLED.format("its process", "{}")),
    (re.compile(r"terminated by signal \d+ \((\w+)\)"), "its process was ended by {}"),
    (re.compile(r"exited with code (\d+)"), "its process ended with code {}"),
)
_FROM_OUTSIDE = re.compile(
    r"ExecutionInterruptedError|ChildProcessCrashException|KeyboardInterrupt|before this step began"
)
_CLASS = re.compile(r"^(mps_)?dagster[\w.]*\.\w+:\s*")


def run_cause(messages: Iterable[str]) -> str:
    """Why the run's process died; empty if it did not, or if the cause is unknown."""
    return next(filter(None, (_matched(message, _OF_A_RUN) for message in messages)), "")


def step_cause(message: str) -> str:
    """Why a step's process died; empty if the message is about something else."""
    return _matched(message, _OF_A_STEP)


def in_words(errors: Sequence[str]) -> str:
    """A step's error, from its messages, without Dagster's names; empty if the step was only terminated."""
    if not errors or any(_FROM_OUTSIDE.search(error) for error in errors):
        return ""
    return step_cause(errors[-1]) or _CLASS.sub("", errors[-1].strip())


def _matched(message: str, forms: Iterable[tuple[re.Pattern[str], str]]) -> str:
    return next((words.format(match[1]) for form, words in forms if (match := form.search(message))), "")
