"""A short soak; `bench/soak.py` is the long one."""

from __future__ import annotations

import sys

import pytest
from soak.soak import Plan, soak


@pytest.mark.slow
@pytest.mark.xdist_group("services")
@pytest.mark.timeout(600)
@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes in /proc")
@pytest.mark.parametrize("database", ["SQLite", "PostgreSQL"])
def test_killing_twenty_processes_loses_nothing(tmp_path, database):
    """Every upload ends well or with its own fault, every output is there once and whole, and nothing is left behind."""
    plan = Plan(
        kills=20, seed=13, postgresql=database == "PostgreSQL", pause_s=(0.5, 3), ahead=4, quiet_s=240,
        folder=tmp_path,
    )  # fmt: skip
    assert soak(plan) == []
