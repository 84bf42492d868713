"""The time left of a subtask, and what of its progress goes to the run's log."""

from __future__ import annotations

import pytest

from mps_dagster.execution.pace import Notes, Pace, StepProgress, clock_time, in_words, whole_percent
from mps_dagster.execution.progress import reporter


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def left_after(*reports: tuple[float, float]) -> float | None:
    """`reports` are seconds since the beginning, and fractions done then."""
    clock = Clock()
    pace = Pace(clock)
    for at_s, fraction in reports:
        clock.now = 100 + at_s
        progress = pace.after(fraction, 1.0)
    return progress.left_s


@pytest.mark.parametrize(
    ("reports", "expected"),
    [
        pytest.param([(0, 0.0)], None, id="nothing is known at the beginning"),
        pytest.param([(0, 0.0), (1, 0.5)], None, id="nor after a second, when encoders fill their lookahead"),
        pytest.param([(0, 0.0), (4, 0.0)], None, id="nor while nothing is done"),
        pytest.param([(0, 0.0), (10, 0.25)], 30.0, id="at the rate until now"),
        pytest.param([(0, 0.5), (10, 0.75)], 10.0, id="at its own rate, after a stage that another process has made"),
        pytest.param([(0, 0.0), *((t, 0.01 * t) for t in range(1, 31)), *((t, 0.3 + 0.001 * (t - 30)) for t in range(31, 61))],
                     670.0, id="at that of the last half minute, after a faster stage"),
        pytest.param([(0, 0.0), (10, 0.5), (50, 0.5), (81, 0.5)], None, id="not known if it stands still"),
        pytest.param([(0, 0.0), (20, 0.8), (21, 0.0), (31, 0.1)], 90.0, id="anew, if it begins anew"),
        pytest.param([(0, 0.0), (1, 1.0)], 0.0, id="nothing, once it is done"),
        pytest.param([(0, 0.0), (10, 1.3)], 0.0, id="also if a file is longer than its header says"),
    ],
)  # fmt: skip
def test_the_time_left(reports, expected):
    assert left_after(*reports) == (None if expected is None else pytest.approx(expected))


def test_a_report_reaches_all_who_listen():
    first, second = [], []
    reporter(first.append, second.append)(0.25, 2.0)
    assert first == second == [StepProgress(0.25, 2.0, None)]


@pytest.mark.parametrize(
    ("took_s", "expected"),
    [
        pytest.param(9, 0, id="none of a short one"),
        pytest.param(25, 2, id="one in ten seconds"),
        pytest.param(1000, 9, id="nine at most"),
        pytest.param(100_000, 9, id="however long it takes"),
    ],
)
def test_a_run_s_log_gets_few_notes(took_s, expected):
    """Each is an event that is kept."""
    clock, notes = Clock(), []
    heard = Notes(notes.append, clock)
    for step in range(1001):
        clock.now = 100 + took_s * step / 1000
        heard.hear(StepProgress(step / 1000, 2.0, took_s * (1 - step / 1000)))
    assert len(notes) == expected


def test_a_note_has_percent_speed_and_time_left():
    clock, notes = Clock(), []
    heard = Notes(notes.append, clock)
    clock.now += 20
    heard.hear(StepProgress(0.405, 2.345, 80.2))
    assert notes == ["40 %, 2.3×, 0:01:20 left"]


@pytest.mark.parametrize(
    ("facts", "expected"),
    [((0.0, 0.0, None), "0 %"), ((0.999, None, 0.4), "99 %, 0:00:00 left"), ((1.0, 12.0, None), "100 %, 12.0×")],
)
def test_what_is_not_known_is_not_said(facts, expected):
    assert in_words(*facts) == expected


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00:00"), (59.6, "0:01:00"), (3661, "1:01:01"), (360_000, "100:00:00")]
)
def test_a_time_in_words(seconds, text):
    assert clock_time(seconds) == text


@pytest.mark.parametrize(("fraction", "expected"), [(0.0, 0), (0.29, 29), (0.57, 57), (0.9999, 99), (1.0, 100)])
def test_a_hundred_percent_is_done(fraction, expected):
    assert whole_percent(fraction) == expected
