"""What of a project is loaded."""

from __future__ import annotations

import dagster as dg
import pytest
from projects import VOD, make_project

from mps_dagster.orchestration.build import build_for_run
from mps_dagster.workflow.naming import BACKFILL, DAILY_USAGE, PROCESS_MEDIA, RETENTION

NAMES = ("vod", "other", "s7")


@pytest.fixture
def project(tmp_path, monkeypatch):
    texts = {name: VOD.replace("name: vod", f"name: {name}").replace("in/", f"{name}/") for name in NAMES}
    settings = make_project(tmp_path, **texts)
    monkeypatch.setenv("MPS_PROJECT", str(settings.project))
    monkeypatch.setenv("MPS_HOME", str(settings.home))


@pytest.mark.parametrize(
    ("job", "selected", "loaded"),
    [
        ("vod", (), {"vod"}),
        ("s7", (), {"s7"}),
        ("s7_by_hand", (), {"s7"}),
        (PROCESS_MEDIA, (), set()),
        ("__ASSET_JOB", ("vod", "other"), {"vod", "other"}),
        (BACKFILL, (), {*NAMES}),
        (RETENTION, (), {*NAMES}),
        (DAILY_USAGE, (), set()),
        ("__ASSET_JOB", ("usage",), set()),
    ],
)
@pytest.mark.usefixtures("project")
def test_a_run_loads_only_its_own_workflows(job, selected, loaded):
    repository = build_for_run(job, selected).get_repository_def()
    assert {key.path[0] for key in repository.asset_graph.get_all_asset_keys()} == {*loaded, "usage"}
    assert job == "__ASSET_JOB" or repository.get_job(job).name == job


@pytest.mark.usefixtures("project")
def test_a_workflow_that_is_gone_is_not_found():
    with pytest.raises(dg.DagsterInvariantViolationError, match="Could not find job 'gone'"):
        build_for_run("gone", ()).get_repository_def().get_job("gone")
