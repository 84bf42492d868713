"""A short soak; `bench/soak.py` is the long one."""

from __future__ import annotations

import sys
from functools import partial

import pytest
from soak.soak import Plan, soak


@pytest.mark.slow
@pytest.mark.xdist_group("deaths")
@pytest.mark.timeout(900)
@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes in /proc")
def test_killing_twenty_processes_loses_nothing(tmp_path):
    """Every upload ends well or with its own fault, every output is there once and whole, and nothing is left behind."""
    plan = Plan(kills=20, seed=13, pause_s=(0.5, 2), ahead=4, quiet_s=600, batch=2, folder=tmp_path)
    assert soak(plan, partial(print, flush=True)) == []
