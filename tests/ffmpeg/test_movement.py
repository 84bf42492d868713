"""When a process counts as stuck. Its usage is made up here; test_process.py has real processes."""

from __future__ import annotations

import pytest

from mps_dagster.ffmpeg import movement
from mps_dagster.ffmpeg.movement import Movement, Usage

MB = 2**20


def looks(monkeypatch, usages: list[Usage], *, advanced: bool = False, received: int = 0) -> list[str]:
    """What is found at each look, 100 s apart; the limits are 300 s, and 10 MB of reading without a result."""
    now, given = iter(range(1, 100_000, 100)), iter(usages)
    monkeypatch.setattr(movement, "usage_of", lambda _: next(given))
    monkeypatch.setattr(movement.time, "monotonic", lambda: float(next(now)))
    watched = Movement(1, stall_s=300, read_limit=10 * MB)
    return [watched.stuck(advanced=advanced, received=received) for _ in usages]


def grows(cpu_s: float, read: float = 0, written: int = 0, looks: int = 30) -> list[Usage]:
    """So much more at each look."""
    return [Usage(n * cpu_s, int(n * read), n * written) for n in range(looks)]


@pytest.mark.parametrize(
    "usages",
    [
        pytest.param(grows(200, read=1), id="reads a little: a palette pass prints no progress"),
        pytest.param(grows(200, read=100 * MB, written=5000), id="writes, and reads its source many times"),
        pytest.param(grows(9, looks=10), id="waits for a core: it had 81 s of CPU in 900 s"),
        pytest.param([Usage(n * 5.0, None) for n in range(30)], id="the kernel tells of CPU time only"),
        pytest.param([*grows(100, looks=3), *grows(100, read=1)[4:]], id="moves again after a pause"),
    ],
)
def test_a_process_that_moves_goes_on(usages, monkeypatch):
    """Whatever its wall time: 50 minutes here, with a limit of 5."""
    assert not any(looks(monkeypatch, usages))


def test_a_frame_is_movement(monkeypatch):
    """An encoder that reads everything first and then computes."""
    assert not any(looks(monkeypatch, grows(200), advanced=True))


@pytest.mark.parametrize(
    ("usages", "reason"),
    [
        pytest.param(grows(100), "it was stuck", id="computes for ever"),
        pytest.param(grows(100, read=MB), "it was stuck", id="reads a part again and again"),
        pytest.param(grows(0.1), "it hung", id="prints progress while its threads wait for each other"),
        pytest.param(grows(0), "it hung", id="waits for a disk that does not answer"),
        pytest.param(grows(0, written=100), "it hung", id="writes less than may be in a pipe"),
        pytest.param(grows(12), "it was stuck", id="is starved, and had its seconds at last"),
        pytest.param([Usage(5.0, None)] * 9, "it hung", id="uses no CPU, and the kernel tells nothing else"),
    ],
)
def test_a_process_that_does_not_move_is_ended(usages, reason, monkeypatch):
    """The reason says which it was."""
    found = looks(monkeypatch, usages)
    assert reason in found[-1]
    assert not any(found[:3])


def test_its_own_output_to_us_is_no_movement(monkeypatch):
    """Progress that repeats is written, too."""
    usages = [Usage(100.0 * n, 0, 20_000 * n) for n in range(30)]
    given, now = iter(usages), iter(range(1, 100_000, 100))
    monkeypatch.setattr(movement, "usage_of", lambda _: next(given))
    monkeypatch.setattr(movement.time, "monotonic", lambda: float(next(now)))
    watched = Movement(1, stall_s=300, read_limit=10 * MB)
    assert "stuck" in [watched.stuck(advanced=False, received=20_000 * n) for n in range(30)][-1]
