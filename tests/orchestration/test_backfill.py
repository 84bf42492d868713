"""Backfills: what is missing, failed or out of date, found from the bucket and from what Dagster recorded."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from unittest.mock import Mock

import dagster as dg
import pytest
from projects import VOD, make_project

from mps_dagster.control.backfill import Plan, Scope, connected, plan
from mps_dagster.errors import InvalidInput
from mps_dagster.orchestration import backfill_job, history
from mps_dagster.orchestration.backfill import launch, open_instance
from mps_dagster.orchestration.build import build_definitions
from mps_dagster.orchestration.graphs import workflow_assets, workflow_graphs
from mps_dagster.orchestration.history import read_history
from mps_dagster.orchestration.internals import BulkActionStatus, PartitionBackfill, add_backfill
from mps_dagster.workflow.naming import partition_key
from mps_dagster.workflow.project import Project

from .conftest import furnished

ALL = ("web", "stills", "teaser")


def _partitions(backfill: PartitionBackfill) -> set[str]:
    target = backfill.asset_backfill_data.target_subset
    return set(target.get_partitions_subset(backfill.asset_selection[0]).get_partition_keys())


class Plans:
    """The workflow as its file is now, and plans of it."""

    def __init__(self, house: SimpleNamespace) -> None:
        self.house = house

    @property
    def workflow(self):
        settings = self.house.settings
        return Project.load(settings).workflows[0]

    def upload(self, key: str, content: bytes = b"x") -> str:
        return self.house.buckets.get("inbox").write(key, content).etag

    def materialize(self, key: str, *tasks: str, etag: str | None = None) -> None:
        """As if the tasks had been run on the upload, by their present revision."""
        etag = etag or self.house.buckets.get("inbox").head(key).etag
        for task in (self.workflow.tasks[name] for name in tasks):
            tags = {"dagster/data_version": f"{task.revision}.{etag}", "dagster/code_version": task.revision}
            event = dg.AssetMaterialization(["vod", task.name], partition=partition_key(key), tags=tags)
            self.house.instance.report_runless_asset_event(event)

    def request(self, tasks: list[str], partitions: list[str]) -> PartitionBackfill:
        """As the webserver does when a backfill is launched: the daemon has not looked at it yet."""
        assets = workflow_assets(self.workflow, workflow_graphs(self.workflow))
        selection = [dg.AssetKey(["vod", task]) for task in tasks]
        add_backfill(self.house.instance, assets, selection, partitions, title="", tags={})
        return self.house.instance.get_backfills()[0]

    def edit(self, old: str, new: str) -> None:
        path = self.house.settings.workflows_dir / "vod.yaml"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    def table(self, **scope):
        return self.planned(**scope).table

    def planned(self, **scope) -> Plan:
        return plan(read_history(self.house.instance, self.workflow), self.house.buckets, Scope(**scope))

    def plan(self, **scope) -> dict[str, tuple[str, tuple[str, ...]]]:
        return {row.key: (row.status, row.tasks) for row in self.table(**scope).itertuples()}

    def launch(self, **scope) -> list[str]:
        return list(launch(self.house.instance, self.workflow, self.table(**scope)))

    @property
    def launched(self) -> list[tuple[str, ...]]:
        """Of each backfill, the tasks and then the partitions; the oldest first."""
        return [
            (*(key.path[-1] for key in backfill.asset_selection), *sorted(_partitions(backfill)))
            for backfill in reversed(self.house.instance.get_backfills())
        ]

    def attempted(self, key: str, report: str, **run) -> dg.DagsterRun:
        """A run of the whole workflow that made nothing, as `report_run_failed` or `report_run_canceled` leaves it."""
        job = build_definitions(self.house.settings).resolve_job_def("vod")
        tags = {"dagster/partition": partition_key(key), **run.pop("tags", {})}
        created = self.house.instance.create_run_for_job(job, tags=tags, **run)
        getattr(self.house.instance, report)(created)
        return created


@pytest.fixture
def plans(house) -> Plans:
    return Plans(house)


def test_an_upload_that_was_never_processed_is_asked_for(plans):
    """All tasks of it."""
    plans.upload("in/a.mp4")
    plans.upload("in/a.txt")
    plans.upload("elsewhere/a.mp4")
    assert plans.plan() == {"in/a.mp4": ("never", ALL)}


def test_up_to_date_outputs_are_left_alone(plans):
    """Also under names that Dagster wants escaped."""
    for key in ("in/a.mp4", "in/100%...\n.mp4"):
        plans.upload(key)
        plans.materialize(key, *ALL)
    assert plans.plan() == {}
    assert plans.plan(statuses=("done",)) == dict.fromkeys(("in/a.mp4", "in/100%...\n.mp4"), ("done", ALL))


def test_only_the_tasks_that_lack_are_asked_for(plans):
    """And with one that was not made, the one that works on its output."""
    plans.upload("in/a.mp4")
    plans.materialize("in/a.mp4", "web", "teaser")
    assert plans.plan() == {"in/a.mp4": ("never", ("stills",))}
    plans.upload("in/b.mp4")
    plans.materialize("in/b.mp4", "stills", "teaser")
    assert plans.plan()["in/b.mp4"] == ("never", ("web", "teaser"))


def test_a_changed_spec_makes_the_outputs_of_its_task_stale(plans):
    """And of its downstream tasks; the others are up to date."""
    plans.upload("in/a.mp4")
    plans.materialize("in/a.mp4", *ALL)
    plans.edit("ext_time_offset_set: [0s, 50%]", "ext_time_offset_set: [0s]")
    assert plans.plan() == {"in/a.mp4": ("stale", ("stills",))}
    plans.edit("height: 90", "height: 120")
    assert plans.plan() == {"in/a.mp4": ("stale", ALL)}


def test_an_output_that_was_made_again_makes_its_downstream_outputs_stale(plans):
    """Somebody materialized one task alone."""
    plans.upload("in/a.mp4")
    plans.materialize("in/a.mp4", *ALL)
    plans.materialize("in/a.mp4", "web")
    assert plans.plan() == {"in/a.mp4": ("stale", ("teaser",))}


def test_a_source_that_was_replaced_is_asked_for(plans):
    """Its outputs are of the older content."""
    plans.upload("in/a.mp4")
    plans.materialize("in/a.mp4", *ALL, etag="older")
    assert plans.plan() == {"in/a.mp4": ("changed", ALL)}


def test_a_source_that_is_gone_is_not(plans):
    """There is nothing to make it of."""
    plans.upload("in/a.mp4")
    plans.materialize("in/a.mp4", "web")
    plans.house.buckets.get("inbox").delete("in/a.mp4")
    assert plans.plan() == {}


@pytest.mark.parametrize(
    ("scope", "keys"),
    [
        ({"prefix": "in/2026/"}, ["in/2026/a.mp4"]),
        ({"prefix": "/in/2026/"}, ["in/2026/a.mp4"]),
        ({"limit": 1}, ["in/2026/a.mp4"]),
        ({"tasks": ("web",)}, ["in/2026/a.mp4", "in/b.mp4"]),
        ({"statuses": ("stale", "failed")}, []),
        ({"since": datetime.now(UTC) + timedelta(days=1)}, []),
        ({"until": datetime.now(UTC) - timedelta(days=1)}, []),
        ({"since": datetime(2020, 1, 1, tzinfo=UTC)}, ["in/2026/a.mp4", "in/b.mp4"]),
    ],
)
def test_a_backfill_is_of_a_part(plans, scope, keys):
    """By prefix, date, task, status; a limit takes the oldest."""
    plans.upload("in/2026/a.mp4")
    plans.upload("in/b.mp4")
    assert list(plans.plan(**scope)) == keys


@pytest.mark.parametrize("scope", [{"tasks": ("wbe",)}, {"statuses": ("old",)}])
def test_a_task_or_status_that_does_not_exist_is_reported(plans, scope):
    """With those that do."""
    with pytest.raises(InvalidInput, match="there is no") as caught:
        plans.plan(**scope)
    assert "web" in caught.value.hint or "stale" in caught.value.hint


def test_our_own_outputs_are_no_sources(plans):
    """Though they lie among them."""
    plans.house.buckets.get("inbox").write("in/a_transcode_small.mp4", b"x", record="_mps/records/1")
    assert plans.plan() == {}
    plans.upload("in/b.mp4")
    assert plans.plan(limit=1) == {"in/b.mp4": ("never", ALL)}


def test_a_failure_is_asked_for_again_only_where_that_can_help(plans):
    """A file that is no video stays one; once the workflow was changed, who knows."""
    plans.upload("in/text.mp4", b"no video")
    run = plans.house.run("in/text.mp4")
    assert plans.plan() == {}
    assert plans.plan(statuses=("broken",)) == {"in/text.mp4": ("broken", ALL)}
    plans.house.instance.add_run_tags(run.run_id, {"mps/revision": "an older one"})
    assert plans.plan() == {"in/text.mp4": ("failed", ALL)}


def test_a_run_that_died_without_a_word_is_asked_for_again(plans):
    """Its process was killed, which says nothing of the file."""
    plans.upload("in/a.mp4")
    plans.attempted("in/a.mp4", "report_run_failed")
    assert plans.plan() == {"in/a.mp4": ("failed", ALL)}


def test_a_run_that_somebody_aborted_is_not(plans):
    """Unless it is asked for by name."""
    plans.upload("in/a.mp4")
    plans.attempted("in/a.mp4", "report_run_canceled")
    assert plans.plan() == {}
    assert plans.plan(statuses=("broken",)) == {"in/a.mp4": ("broken", ALL)}


@pytest.mark.parametrize("report", ["report_run_canceled", "report_run_failed"])
def test_an_attempt_keeps_nothing_back_that_was_changed_since(plans, report):
    """A run that was aborted, or broke, is one of the workflow and of the upload as they were then."""
    first = plans.upload("in/a.mp4")
    config = {"ops": {"vod__source": {"config": {"etag": first}}}}
    run = plans.attempted("in/a.mp4", report, run_config=config, tags={"mps/revision": plans.workflow.revision})
    before = plans.plan(statuses=("broken", "failed"))
    plans.upload("in/a.mp4", b"another")
    assert before == {"in/a.mp4": ("broken" if "canceled" in report else "failed", ALL)}
    assert plans.plan() == {"in/a.mp4": ("never" if "canceled" in report else "failed", ALL)}
    plans.house.instance.add_run_tags(run.run_id, {"mps/revision": "an older one"})
    assert plans.plan(statuses=("broken",)) == {}


def test_a_replaced_upload_is_asked_for_though_a_backfill_broke_on_it(plans):
    """Whose runs have no etag in their config."""
    plans.upload("in/a.mp4", b"no video")
    plans.house.run("in/a.mp4")
    assert plans.plan() == {}
    plans.upload("in/a.mp4", b"x")
    assert plans.plan() == {"in/a.mp4": ("failed", ALL)}


def test_what_broke_on_an_upload_stays_broken_while_that_is_the_same(tmp_path, instance, clips):
    """By the etag that the run found, though the object looks newer than the run."""
    house = furnished(make_project(tmp_path), instance)
    plans = Plans(house)
    house.upload(clips.no_audio(), "in/silent.mp4")
    house.run("in/silent.mp4")
    house.buckets.get("inbox").path("in/silent.mp4").chmod(0o600)
    assert plans.plan() == {}
    assert plans.plan(statuses=("broken",)) == {"in/silent.mp4": ("broken", ("web", "teaser"))}


def test_an_output_stays_up_to_date_though_a_later_attempt_was_aborted(plans):
    """If it is of this content and revision."""
    plans.upload("in/a.mp4")
    plans.materialize("in/a.mp4", *ALL)
    plans.attempted("in/a.mp4", "report_run_canceled")
    assert plans.plan(statuses=("done",)) == {"in/a.mp4": ("done", ALL)}
    plans.edit("width: 128", "width: 96")
    assert plans.plan(statuses=("broken",)) == {"in/a.mp4": ("broken", ("teaser",))}


def test_a_plan_says_how_many_are_left_alone_and_why(plans):
    """Or the broken ones would never be noticed."""
    for name in ("a", "b", "c"):
        plans.upload(f"in/{name}.mp4")
    plans.attempted("in/a.mp4", "report_run_canceled")
    plans.materialize("in/b.mp4", *ALL)
    assert plans.planned().others == {"broken": 1, "done": 1}


def test_what_is_made_while_a_plan_is_read_is_not_planned_again(plans, monkeypatch):
    """Or it would be made twice."""
    plans.upload("in/a.mp4")
    run = plans.attempted("in/a.mp4", "report_run_canceled")
    plans.house.instance.add_run_tags(run.run_id, {"mps/revision": "an older one"})
    read = history._runs

    def meanwhile(self, run_ids):
        plans.materialize("in/a.mp4", *ALL)
        return read(self, run_ids)

    monkeypatch.setattr(history, "_runs", meanwhile)
    assert plans.plan() == {}


def test_a_run_that_is_under_way_is_waited_for(plans):
    """It may do all that is needed."""
    plans.upload("in/a.mp4")
    house = plans.house
    house.instance.add_dynamic_partitions("vod_uploads", ["in/a.mp4"])
    job = build_definitions(house.settings).resolve_job_def("vod")
    house.instance.create_run_for_job(job, tags={"dagster/partition": "in/a.mp4"}, asset_selection=None)
    assert plans.plan() == {}
    assert plans.plan(statuses=("running",)) == {"in/a.mp4": ("running", ALL)}


def test_a_plan_is_of_this_deployment_whatever_the_shell_has_set(tmp_path, monkeypatch):
    """DAGSTER_HOME may be another project's. Before the first start there is nothing to plan from."""
    settings = make_project(tmp_path)
    monkeypatch.setenv("MPS_HOME", str(settings.home))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with pytest.raises(InvalidInput, match="nothing was ever started"), open_instance(settings):
        pass
    settings.dagster_home.mkdir()
    (settings.dagster_home / "dagster.yaml").symlink_to(settings.project / "dagster.yaml")
    with open_instance(settings) as instance:
        instance.add_dynamic_partitions("vod_uploads", ["a.mp4"])
    assert list(settings.dagster_home.rglob("*.db"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "project"]


def test_a_real_run_leaves_nothing_to_do_and_tells_what_it_was_made_of(tmp_path, instance, clips):
    """The plan reads what the run recorded; a change of the file shows in the plan and, as a code version, in the UI."""
    house = furnished(make_project(tmp_path), instance)
    plans = Plans(house)
    house.upload(clips.video(), "in/clip.mp4")
    assert house.run("in/clip.mp4").success
    assert plans.plan() == {}
    plans.edit("width: 128", "width: 96")
    assert plans.plan() == {"in/clip.mp4": ("stale", ("teaser",))}
    recorded = instance.get_latest_materialization_event(dg.AssetKey(["vod", "teaser"])).asset_materialization.tags
    now = build_definitions(house.settings).resolve_asset_graph().get(dg.AssetKey(["vod", "teaser"])).code_version
    assert recorded["dagster/code_version"] != now == plans.workflow.tasks["teaser"].revision


def test_what_was_made_by_a_run_that_is_gone_is_not_made_again(tmp_path, instance, clips):
    """Retention removes runs; the manifests stay. What is not as it was made is asked for all the same."""
    house = furnished(make_project(tmp_path), instance)
    plans = Plans(house)
    house.upload(clips.video(), "in/clip.mp4")
    done = house.run("in/clip.mp4")
    instance.delete_run(done.run_id)
    assert plans.plan() == {}
    plans.edit("width: 128", "width: 96")
    assert plans.plan() == {"in/clip.mp4": ("never", ALL)}
    plans.edit("width: 96", "width: 128")
    house.upload(clips.no_audio(), "in/clip.mp4")
    assert plans.plan() == {"in/clip.mp4": ("never", ALL)}


def test_what_a_backfill_has_asked_for_is_waited_for(plans):
    """It may have no runs yet. What it made, and what it does not ask for, is judged as ever."""
    for name in ("a", "b", "c"):
        plans.upload(f"in/{name}.mp4")
    plans.house.instance.add_dynamic_partitions("vod_uploads", ["in/a.mp4", "in/b.mp4", "in/c.mp4"])
    plans.request(["source", "stills"], ["in/a.mp4", "in/b.mp4"])
    plans.materialize("in/b.mp4", "stills")
    rest = ("never", ("web", "teaser"))
    assert plans.plan() == {"in/a.mp4": rest, "in/b.mp4": rest, "in/c.mp4": ("never", ALL)}
    assert plans.plan(tasks=("stills",), statuses=("running",)) == {"in/a.mp4": ("running", ("stills",))}
    plans.house.instance.update_backfill(plans.request(["stills"], ["in/c.mp4"]).with_status(BulkActionStatus.CANCELED))
    assert plans.plan()["in/c.mp4"] == ("never", ALL)


def test_a_scheduled_backfill_waits_for_the_one_before(plans, monkeypatch):
    """What that one has not done yet is not requested again, nor are the files loaded. It needs no web server."""
    loads, load = [], backfill_job.reload_code
    monkeypatch.setattr(backfill_job, "reload_code", lambda *run: (loads.append(run), load(*run)))
    plans.upload("in/a.mp4")
    plans.upload("in/b.mp4")
    house = plans.house
    house.instance.add_dynamic_partitions("vod_uploads", ["in/b.mp4"])
    asked = plans.request(["source", *ALL], ["in/b.mp4"])
    job = house.defs.resolve_job_def("backfill")
    config = {"ops": {"plan_and_launch": {"config": {"workflow": "vod"}}}}
    assert job.execute_in_process(config, instance=house.instance).success
    assert (len(plans.launched), len(loads)) == (1, 0)
    house.instance.update_backfill(asked.with_status(BulkActionStatus.CANCELED))
    assert job.execute_in_process(config, instance=house.instance).success
    assert plans.launched[1:] == [("source", *ALL, "in/a.mp4", "in/b.mp4")]
    assert len(loads) == 1


def test_a_scheduled_backfill_has_the_files_loaded_before_it_launches(plans, monkeypatch):
    """Else the daemon does not know a task that was added to the file since, and the backfill fails."""
    launched_before = []
    monkeypatch.setattr(backfill_job, "reload_code", lambda *_: launched_before.append(plans.launched))
    plans.upload("in/a.mp4")
    config = {"ops": {"plan_and_launch": {"config": {"workflow": "vod"}}}}
    assert (
        plans.house.defs.resolve_job_def("backfill").execute_in_process(config, instance=plans.house.instance).success
    )
    assert (launched_before, plans.launched) == ([[]], [("source", *ALL, "in/a.mp4")])


def test_runs_of_a_backfill_say_whose_they_are(plans):
    """As those of the sensor do, so that the API can tell who may see them."""
    plans.upload("in/a.mp4")
    plans.launch()
    [backfill] = plans.house.instance.get_backfills()
    assert backfill.tags == {
        "mps/workflow": "vod", "mps/bucket": "inbox", "mps/revision": plans.workflow.revision, "dagster/priority": "-1",
    }  # fmt: skip
    assert backfill.title == "vod: source, web, stills, teaser of 1 sources"


def test_a_task_is_launched_with_what_it_works_on(plans):
    """If that was never made; an existing output is used as it is."""
    plans.upload("in/a.mp4")
    assert plans.plan(tasks=("teaser",)) == {"in/a.mp4": ("never", ("web", "teaser"))}
    plans.materialize("in/a.mp4", "web")
    assert plans.plan(tasks=("teaser",)) == {"in/a.mp4": ("never", ("teaser",))}


def test_a_task_waits_for_what_it_works_on(plans):
    """While that is under way, or broken; the plan says so."""
    plans.upload("in/a.mp4")
    asset = [dg.AssetKey(["vod", "web"])]
    plans.attempted("in/a.mp4", "report_run_canceled", asset_selection=set(asset))
    [row] = plans.table().itertuples()
    assert (row.status, row.tasks) == ("never", ("stills",))
    assert row.reason == "web was aborted; stills was never made; teaser waits for web, which is broken"
    assert plans.plan(tasks=("teaser",)) == {}
    assert plans.plan(statuses=("broken",)) == {"in/a.mp4": ("broken", ("web", "teaser"))}


def test_what_was_made_of_what_is_out_of_date_does_not_stand(plans):
    """Also if the attempt to make that again was aborted."""
    plans.upload("in/a.mp4")
    plans.materialize("in/a.mp4", *ALL)
    plans.edit("height: 90", "height: 120")
    plans.attempted("in/a.mp4", "report_run_canceled", asset_selection={dg.AssetKey(["vod", "web"])})
    assert plans.plan(statuses=("broken",))["in/a.mp4"] == ("broken", ("web", "teaser"))


def test_only_an_upload_that_then_lacks_nothing_is_kept_from_the_upload_sensor(plans):
    """A backfill of one task must not take the others from it."""
    requested = lambda: plans.house.instance.get_dynamic_partitions("vod_requested")  # noqa: E731
    plans.upload("in/a.mp4")
    plans.upload("in/b.mp4")
    plans.materialize("in/b.mp4", "web", "teaser")
    table = plans.table(tasks=("stills",))
    assert len(plans.launch(tasks=("stills",))) == 1
    assert plans.launched == [("source", "stills", "in/a.mp4", "in/b.mp4")]
    [b] = requested()
    assert f"vod:{b}" == table.set_index("key").loc["in/b.mp4", "run_key"]
    for launched in plans.house.instance.get_backfills():
        plans.house.instance.update_backfill(launched.with_status(BulkActionStatus.CANCELED))
    plans.launch()
    assert len(requested()) == 2


def test_what_was_launched_is_reported_though_the_next_backfill_cannot_be_queued(plans, monkeypatch):
    """And its uploads are remembered."""
    plans.upload("in/a.mp4")
    plans.upload("in/b.mp4")
    plans.materialize("in/b.mp4", "web", "teaser")
    launched = launch(plans.house.instance, plans.workflow, plans.table())
    next(launched)
    monkeypatch.setattr(plans.house.instance, "add_backfill", Mock(side_effect=OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        next(launched)
    assert len(plans.house.instance.get_dynamic_partitions("vod_requested")) == 1


def test_a_schedule_is_there_for_who_wants_it(tmp_path, instance):
    """Off by default; it runs the backfill job with the workflow's name."""
    text = VOD + "backfill: {cron: '0 3 * * *', timezone: Europe/Berlin, max_sources: 5}\n"
    defs = furnished(make_project(tmp_path, vod=text, other=VOD.replace("name: vod", "name: other")), instance).defs
    [schedule] = [item for item in defs.get_repository_def().schedule_defs if item.name.endswith("_backfill")]
    assert (schedule.name, schedule.cron_schedule, schedule.execution_timezone) == (
        "vod_backfill",
        "0 3 * * *",
        "Europe/Berlin",
    )
    context = dg.build_schedule_context(instance, scheduled_execution_time=datetime.now(UTC))
    [request] = schedule.evaluate_tick(context).run_requests
    assert request.run_config == {"ops": {"plan_and_launch": {"config": {"workflow": "vod", "max_sources": 5}}}}


@pytest.mark.parametrize(
    ("tasks", "sets"),
    [
        (("web", "stills", "teaser"), [["source", "web", "stills", "teaser"]]),
        (("stills",), [["source", "stills"]]),
        (("teaser",), [["teaser"]]),
        (("stills", "teaser"), [["source", "stills"], ["teaser"]]),
    ],
)
def test_tasks_are_launched_in_sets_that_hang_together(plans, tasks, sets):
    """A task whose upstream output exists needs no source step."""
    assert connected(plans.workflow, tasks) == sets
