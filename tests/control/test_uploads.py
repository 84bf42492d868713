"""Which objects need a run: decided over a bucket in memory, with a clock and limits of the test's own."""

from __future__ import annotations

import dataclasses
import itertools
from datetime import UTC, datetime, timedelta

import pytest

from mps_dagster.control.scopes import Cursor, Scope, scopes
from mps_dagster.control.uploads import Limits, Poll, Verdict, decide
from mps_dagster.errors import InvalidConfiguration, SourceNotAccessible, StorageFailed, StorageRefused
from mps_dagster.storage.bucket import ObjectInfo
from mps_dagster.storage.memory import MemoryBucket
from mps_dagster.workflow.model import Workflow
from mps_dagster.workflow.naming import run_key

NOW = datetime.now(UTC)
SPENT = Limits(seconds=0)


class SetLedger(set):
    def add(self, keys) -> None:
        self.update(keys)

    def among(self, keys) -> set[str]:
        return self.intersection(keys)


class Faulty(MemoryBucket):
    """A bucket in memory; what HEAD raises, by key, and after how many objects its listing breaks off."""

    def __init__(self, name: str = "s3://inbox") -> None:
        super().__init__(name)
        self.faults: dict[str, Exception] = {}
        self.listed: int | None = None

    def head(self, key):
        if key in self.faults:
            raise self.faults[key]
        return super().head(key)

    def list(self, prefix="", **how):
        for number, info in enumerate(super().list(prefix, **how)):
            if number == self.listed:
                raise StorageFailed("the connection is gone")
            yield info
        if self.listed == 0:
            raise StorageFailed("the connection is gone")


@pytest.fixture
def bucket() -> Faulty:
    return Faulty()


@pytest.fixture
def ledger() -> SetLedger:
    return SetLedger()


def workflow(enabled_at=None, *, name="vod", **trigger) -> Workflow:
    return Workflow(
        name=name,
        trigger={"bucket": "s3://inbox", "dir": "/in/", **trigger},
        tasks={"stills": {"name": "stills", "type": "sample_snapshot", "outputs": [{}]}},
        enabled_at=enabled_at,
    )


class Ticks:
    """One poll after the other, each of which gets its runs."""

    def __init__(self, bucket, ledger, limits=None, **trigger) -> None:
        self.bucket, self.ledger, self.limits = bucket, ledger, limits or Limits()
        self.workflows = [workflow(**trigger)]
        self.off: set[str] = set()
        self.cursor = Cursor()
        self.poll: Poll

    def tick(self, listen=None, now=1000.0) -> list[str]:
        """Keys of the uploads that need a run. No two readings of the clock are the same."""
        clock = itertools.count().__next__
        self.poll = Poll(
            self.workflows, self.bucket, self.ledger, self.limits, is_on=lambda name: name not in self.off, clock=clock
        )
        self.cursor = self.poll.run(self.cursor, now, [("uploads", listen)] if listen else [])
        self.ledger.add(self.poll.uploads)
        return [upload.info.key for upload in self.poll.uploads.values()]


def write(bucket, *keys: str) -> None:
    for key in keys:
        bucket.write(key, b"x")


@pytest.mark.parametrize(
    ("info", "verdict"),
    [
        pytest.param({}, Verdict.NEW, id="an upload"),
        pytest.param({"record": "_mps/records/1"}, Verdict.OWN_OUTPUT, id="our output"),
        pytest.param({"key": "out/a.mp4"}, Verdict.NOT_TAKEN, id="outside the dir"),
        pytest.param({"key": "in/a.txt"}, Verdict.NOT_TAKEN, id="of no format that is taken"),
        pytest.param({"key": "_mps/a.mp4"}, Verdict.NOT_TAKEN, id="our record"),
        pytest.param({"modified": NOW - timedelta(hours=2)}, Verdict.TOO_OLD, id="before the workflow was enabled"),
        pytest.param({"settled": False}, Verdict.NOT_SETTLED, id="still being written"),
    ],
)
def test_what_an_object_is(info, verdict):
    """As its bucket describes it."""
    upload = ObjectInfo("in/a.mp4", 1, "etag", NOW)
    assert decide(workflow(NOW - timedelta(hours=1)), dataclasses.replace(upload, **info)) is verdict


def test_an_upload_that_has_a_run_is_known(bucket, ledger):
    """For each workflow by itself."""
    write(bucket, "in/a.mp4")
    both = [workflow(), workflow(name="other")]
    poll = Poll(both, bucket, ledger, Limits())
    [run, other] = [run_key(each.name, "s3://inbox", bucket.head("in/a.mp4")) for each in both]
    ledger.add([run])
    assert dict(poll.consider(["in/a.mp4"])) == {"in/a.mp4": {run: Verdict.KNOWN, other: Verdict.NEW}}
    assert list(poll.uploads) == [other]


@pytest.mark.parametrize(
    ("fault", "verdict", "problem"),
    [
        (SourceNotAccessible("there is none"), Verdict.GONE, []),
        (InvalidConfiguration("no such key"), Verdict.BAD_KEY, ["1 left out, such as: no such key"]),
        (StorageRefused("access denied"), Verdict.NOT_READABLE, ["access denied"]),
    ],
)
def test_an_object_that_cannot_be_checked_differs_from_a_bucket_that_cannot(bucket, ledger, fault, verdict, problem):
    """HEAD answers the same where the whole bucket is gone; its listing does not."""
    bucket.faults["in/a.mp4"] = fault
    poll = Poll([workflow()], bucket, ledger, Limits())
    assert dict(poll.consider(["in/a.mp4"])) == {"in/a.mp4": {"": verdict}}
    assert poll.problems() == problem
    bucket.listed = 0
    if verdict is not Verdict.BAD_KEY:
        with pytest.raises(StorageFailed, match="the connection is gone"):
            list(Poll([workflow()], bucket, ledger, Limits()).consider(["in/a.mp4"]))


def test_a_bucket_that_does_not_answer_decides_nothing(bucket, ledger):
    """It may answer the next time."""
    bucket.faults["in/a.mp4"] = StorageFailed("timeout")
    with pytest.raises(StorageFailed, match="timeout"):
        list(Poll([workflow()], bucket, ledger, Limits()).consider(["in/a.mp4"]))


def test_our_own_outputs_are_looked_at_once(bucket, ledger):
    """Though they are written where uploads are looked for."""
    bucket.write("in/a.mp4", b"x", record="_mps/records/1")
    ticks = Ticks(bucket, ledger)
    assert ticks.tick() == []
    assert ticks.poll.counts == {Verdict.OWN_OUTPUT: 1}
    assert ticks.tick() == []
    assert not ticks.poll.counts


def test_a_poll_ends_when_it_has_runs_enough(bucket, ledger):
    """The next one goes on where it was: none lost, none twice."""
    ticks = Ticks(bucket, ledger, Limits(runs=3))
    keys = [f"in/{number}.mp4" for number in range(5)]
    write(bucket, *keys)
    assert ticks.tick() == keys[:3]
    assert ticks.cursor.after == keys[2]
    assert [ticks.tick(), ticks.tick()] == [keys[3:], []]


def test_a_sweep_without_time_gets_past_one_object_a_poll(bucket, ledger):
    """A listing may take all of a poll's time each time; the sweep ends only when it has looked at everything."""
    ticks = Ticks(bucket, ledger, SPENT)
    write(bucket, "in/a.mp4", "in/b.mp4")
    assert [ticks.tick() for _ in range(3)] == [["in/a.mp4"], ["in/b.mp4"], []]
    assert ticks.cursor.after == ""


def test_a_sweep_that_has_no_time_left_goes_on_behind_the_last_page(bucket, ledger):
    """A tick never runs into Dagster's timeout, however large the bucket is."""
    ticks = Ticks(bucket, ledger, Limits(seconds=0, page=2))
    write(bucket, *(f"in/{number}.txt" for number in range(5)))
    positions = []
    for _ in range(4):
        ticks.tick()
        positions.append(ticks.cursor.after)
    assert positions == ["in/1.txt", "in/3.txt", "in/4.txt", ""]


def test_an_object_whose_bucket_fails_does_not_stop_the_sweep_for_ever(bucket, ledger):
    """It is tried once more by the next poll, which then reports it and goes on."""
    ticks = Ticks(bucket, ledger)
    write(bucket, "in/a.mp4", "in/b.mp4", "in/c.mp4")
    bucket.faults["in/b.mp4"] = StorageFailed("the disk cannot read it")
    assert [ticks.tick(), ticks.tick()] == [["in/a.mp4"], ["in/c.mp4"]]
    assert ticks.poll.problems() == ["the disk cannot read it"]
    assert ticks.cursor.after == ""
    bucket.faults.clear()
    assert ticks.tick() == ["in/b.mp4"]


def test_a_failed_listing_decides_nothing(bucket, ledger):
    """Not even on what it had listed; what was announced counts."""
    ticks = Ticks(bucket, ledger, Limits(page=1), queue="uploads", list_every_s=0)
    write(bucket, "in/a.mp4", "in/b.mp4", "in/c.mp4")
    bucket.listed = 2
    assert ticks.tick(listen=lambda poll: list(poll.consider(["in/c.mp4"]))) == ["in/c.mp4"]
    assert ticks.poll.failures == ["s3://inbox/in/ could not be listed: the connection is gone"]
    assert (ticks.cursor, ticks.poll.swept) == (Cursor(), False)
    bucket.listed = None
    assert ticks.tick(listen=lambda _: None) == ["in/a.mp4", "in/b.mp4"]


def test_announcements_that_fail_do_not_keep_the_sweep_from_finding_uploads(bucket, ledger):
    """Each way is reported by itself."""

    def listen(poll) -> None:
        raise StorageFailed("no such queue")

    ticks = Ticks(bucket, ledger, queue="uploads", list_every_s=0)
    write(bucket, "in/a.mp4")
    assert ticks.tick(listen) == ["in/a.mp4"]
    assert ticks.poll.failures == ["announcements in uploads wait: no such queue"]


def test_a_sweep_behind_slow_announcements_waits_for_the_next_poll(bucket, ledger):
    """Both would not fit into one tick."""
    ticks = Ticks(bucket, ledger, Limits(seconds=2), queue="uploads", list_every_s=0)
    write(bucket, "in/a.mp4")
    assert ticks.tick(listen=lambda poll: [poll.over for _ in range(5)]) == []
    assert ticks.tick(listen=lambda _: None) == ["in/a.mp4"]


def test_a_sweep_is_made_when_it_is_time_and_goes_on_until_it_is_through(bucket, ledger):
    """With a queue once an hour; its cost must not come with every poll."""
    ticks = Ticks(bucket, ledger, Limits(runs=1), queue="uploads", list_every_s=100)
    write(bucket, "in/a.mp4", "in/b.mp4")
    assert [ticks.tick(now=now) for now in (1000, 1001, 1002)] == [["in/a.mp4"], ["in/b.mp4"], []]
    assert ticks.cursor == Cursor(swept={"in/": 1002})
    write(bucket, "in/c.mp4")
    assert [ticks.tick(now=now) for now in (1101, 1102)] == [[], ["in/c.mp4"]]


def test_what_a_poll_has_to_say_is_short(bucket, ledger):
    """Of many alike the first ones."""
    ticks = Ticks(bucket, ledger, Limits(remarks=2))
    keys = [f"in/{number}.mp4" for number in range(4)]
    write(bucket, *keys)
    bucket.faults |= {key: StorageRefused(f"no access to {key}") for key in keys}
    ticks.tick()
    assert ticks.poll.summary(Cursor(after="in/x")).splitlines() == [
        "4 objects listed, none new; the sweep goes on after in/x",
        "no access to in/0.mp4", "no access to in/1.mp4", "and 2 more",
    ]  # fmt: skip


def test_one_poll_finds_the_uploads_of_all_workflows_of_the_bucket(bucket, ledger):
    """An upload that two take gets a run of each; dirs inside others are not listed twice."""
    ticks = Ticks(bucket, ledger)
    ticks.workflows = [
        workflow(name="all", dir="/"), workflow(name="in"), workflow(name="sound", formats=("mp3",)),
        workflow(name="deep", dir="/in/deep/"),
    ]  # fmt: skip
    write(bucket, "in/a.mp4", "in/deep/b.mp3", "c.mp4")
    ticks.tick()
    assert sorted((upload.workflow.name, upload.info.key) for upload in ticks.poll.uploads.values()) == [
        ("all", "c.mp4"), ("all", "in/a.mp4"), ("all", "in/deep/b.mp3"), ("deep", "in/deep/b.mp3"),
        ("in", "in/a.mp4"), ("in", "in/deep/b.mp3"), ("sound", "in/deep/b.mp3"),
    ]  # fmt: skip
    assert ticks.poll.listed == 3


def test_a_workflow_that_is_off_finds_its_uploads_when_it_is_on_again(bucket, ledger):
    """Meanwhile they cost no look, and the other workflows of the bucket go on."""
    ticks = Ticks(bucket, ledger)
    ticks.workflows = [workflow(name="off"), workflow(name="on", dir="/on/")]
    ticks.off = {"off"}
    write(bucket, "in/a.mp4", "on/b.mp4")
    bucket.faults["in/a.mp4"] = AssertionError("it was looked at")
    assert ticks.tick() == ["on/b.mp4"]
    assert ticks.tick() == []
    assert "1 an upload of a workflow that is switched off" in ticks.poll.summary(ticks.cursor)
    bucket.faults.clear()
    ticks.off = set()
    assert ticks.tick() == ["in/a.mp4"]


def test_a_dir_that_cannot_be_listed_does_not_keep_the_others_from_being_swept(bucket, ledger):
    """Its workflow's uploads wait; the tick says so."""
    ticks = Ticks(bucket, ledger)
    ticks.workflows = [workflow(name="a", dir="/a/"), workflow(name="b", dir="/b/")]
    write(bucket, "a/1.mp4", "b/1.mp4")
    whole = bucket.list

    def fails(prefix="", **how):
        if prefix == "a/":
            raise StorageFailed("no such folder")
        return whole(prefix, **how)

    bucket.list = fails
    assert ticks.tick() == ["b/1.mp4"]
    assert ticks.poll.failures == ["s3://inbox/a/ could not be listed: no such folder"]
    bucket.list = whole
    assert ticks.tick() == ["a/1.mp4"]


def test_a_burst_in_one_dir_lets_the_others_be_swept(bucket, ledger):
    """The next poll goes on behind the dir that filled the last one."""
    ticks = Ticks(bucket, ledger, Limits(runs=2))
    ticks.workflows = [workflow(name="a", dir="/a/"), workflow(name="b", dir="/b/")]
    write(bucket, *(f"a/{number}.mp4" for number in range(2)), "b/1.mp4")
    assert ticks.tick() == ["a/0.mp4", "a/1.mp4"]
    write(bucket, *(f"a/new{number}.mp4" for number in range(5)))
    found = [ticks.tick() for _ in range(4)]
    assert "b/1.mp4" in [*found[0], *found[1], *found[2]]
    assert sorted(itertools.chain(*found)) == [*(f"a/new{number}.mp4" for number in range(5)), "b/1.mp4"]


@pytest.mark.parametrize(
    ("dirs", "listed"),
    [
        (("/in/", "/in/a/", "/out/"), [("in/", 0), ("out/", 0)]),
        (("/a/", "/"), [("", 0)]),
        (("/in/", "/input/"), [("in/", 0), ("input/", 0)]),
    ],
)
def test_each_dir_is_listed_once(dirs, listed):
    """Not with a dir that it is in."""
    assert scopes(workflow(dir=folder) for folder in dirs) == [Scope(*scope) for scope in listed]


def test_a_dir_is_listed_as_often_as_any_of_its_workflows_wants():
    """Those that make no sweeps do not count."""
    flows = [
        workflow(list_every_s=60), workflow(list_every_s=5, dir="/in/a/"), workflow(listing=False, queue="q"),
    ]  # fmt: skip
    assert scopes(flows) == [Scope("in/", 5)]


@pytest.mark.parametrize("text", [None, "", "2026-01-01", '{"other": 1}'])
def test_a_cursor_of_another_version_is_reset(text):
    """An admin may reset it in the UI."""
    assert Cursor.parse(text) == Cursor()
