"""How much a key may ask."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from types import SimpleNamespace

import pytest

from mps_dagster.api import limits as limits_module
from mps_dagster.api.error import ApiError
from mps_dagster.api.limits import RateLimits
from mps_dagster.api.service import mps_actions


class SlowBucket:
    """Lets another thread go first whenever it was read."""

    def __init__(self, tokens: float, at_s: float) -> None:
        self._tokens = tokens
        self.at_s = at_s

    @property
    def tokens(self) -> float:
        value = self._tokens
        time.sleep(0)
        return value

    @tokens.setter
    def tokens(self, value: float) -> None:
        self._tokens = value


def taken(limits: RateLimits, action: str, *, key: str = "AKID", tries: int = 1000) -> int:
    """How many of so many calls get through."""
    count = 0
    for _ in range(tries):
        with suppress(ApiError):
            limits.take(key, action)
            count += 1
    return count


@pytest.mark.parametrize(
    ("action", "rate"),
    [
        ("ProcessMedia", 100), ("DescribeTaskDetail", 100), ("DescribeTasks", 100), ("ManageTask", 20), ("CreateWorkflow", 200),
        ("EnableWorkflow", 20), ("ParseNotification", 20), ("DescribeMediaMetaData", 20), ("CreateSchedule", 20),
        ("CreateTranscodeTemplate", 100), ("DescribeWatermarkTemplates", 100), ("ModifyAnimatedGraphicsTemplate", 100),
        ("DeleteSnapshotByTimeOffsetTemplate", 100), ("DescribeSampleSnapshotTemplates", 100), ("CreateImageSpriteTemplate", 100),
        ("CreateAdaptiveDynamicStreamingTemplate", 20), ("DescribeAdaptiveDynamicStreamingTemplates", 20),
    ],
)  # fmt: skip
def test_rates_are_those_of_mps(action, rate):
    """A second's worth at once, and after a second as much again (reference I.5)."""
    clock = SimpleNamespace(now=0.0)
    limits = RateLimits({}, lambda: clock.now)
    assert action in mps_actions()
    assert taken(limits, action) == rate
    clock.now += 0.5
    assert taken(limits, action) == rate // 2
    clock.now += 3600
    assert taken(limits, action) == rate


def test_each_key_and_action_has_its_own():
    """One client that is wild takes nothing from another."""
    limits = RateLimits({}, lambda: 0.0)
    assert taken(limits, "ManageTask") == 20
    assert taken(limits, "ManageTask", key="AKIDother") == 20
    assert taken(limits, "EnableWorkflow") == 20


def test_the_code_is_the_one_that_makes_sdks_wait():
    """And says how much is allowed."""
    limits = RateLimits({"ProcessMedia": 1}, lambda: 0.0)
    limits.take("AKID", "ProcessMedia")
    with pytest.raises(ApiError, match="ProcessMedia may be called 1 times a second") as raised:
        limits.take("AKID", "ProcessMedia")
    assert raised.value.code == "RequestLimitExceeded"


def test_settings_go_over_mps_own():
    """For what they name; with `*` for everything. Less than one a second is possible."""
    clock = SimpleNamespace(now=0.0)
    some = RateLimits({"ProcessMedia": 3}, lambda: clock.now)
    assert (taken(some, "ProcessMedia"), taken(some, "DescribeTasks")) == (3, 100)
    every = RateLimits({"*": 5, "ProcessMedia": 0.5}, lambda: clock.now)
    assert (taken(every, "ProcessMedia"), taken(every, "DescribeTasks")) == (1, 5)
    clock.now += 1
    assert taken(every, "ProcessMedia") == 0
    clock.now += 1
    assert taken(every, "ProcessMedia") == 1


def test_threads_together_get_no_more_than_one_would(monkeypatch):
    """Each call is counted once, though they change places at every step."""
    monkeypatch.setattr(limits_module, "_Bucket", SlowBucket)
    limits = RateLimits({"*": 50}, lambda: 0.0)
    counts: list[int] = []
    threads = [threading.Thread(target=lambda: counts.append(taken(limits, "M", tries=50))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == 50
