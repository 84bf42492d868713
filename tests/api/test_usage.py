"""DescribeUsageData, called with Tencent's own SDK."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

import pytest
from recorded import Recorded, film, made, sound

from mps_dagster.api.actions import usage
from mps_dagster.control.graphql import Dagster

KEYS = """
keys:
  - {secret_id: news, secret_key: a key of sixteen characters, read: [films]}
  - {secret_id: sport, secret_key: a key of sixteen characters}
"""
NOON = datetime.combine(datetime.now(UTC).date() - timedelta(days=1), time(12), UTC)
YESTERDAY = f"{NOON.date()}T00:00:00Z"


@pytest.fixture
def records(monkeypatch) -> Recorded:
    """Of Dagster, which tests/orchestration has for real."""
    records = Recorded()
    monkeypatch.setattr(Dagster, "runs", lambda _, query, **page: records.runs(query, **page))
    monkeypatch.setattr(Dagster, "events", lambda _, run_id: records.events(run_id))
    return records


def asked(call, *who: str, types: list[str]) -> dict[str, tuple[dict[str, int], dict[str, int]]]:
    """Yesterday's number and usage, of all and by specification."""
    answer = call(*who, "DescribeUsageData", StartTime=YESTERDAY, EndTime=YESTERDAY, Types=types)
    assert all(item["Time"] == YESTERDAY for data in answer["Data"] for item in data["Summary"])
    return {
        data["TaskType"]: (
            data["Summary"][0]["Count"],
            data["Summary"][0]["Usage"],
            {detail["Specification"]: detail["Data"][0]["Usage"] for detail in data["Details"]},
        )
        for data in answer["Data"]
    }


def test_usage_is_in_the_units_and_specifications_of_mps(call, records):
    """Seconds of what was encoded, pictures, seconds of what was inspected."""
    records.add(
        made("100030", film(60, 1280, 720)), made("100040", film(60, 1920, 1080, codec="hevc")), made("a", sound(30)),
        made("b", film(60), spec={"video_template": {"codec": "copy"}}),
        made("10", (320, 180), (320, 180), kind="sample_snapshot"), made("12", (320, 180), kind="image_sprite"),
        made("13", (320, 180), kind="snapshot_by_time_offset"), made("11", kind="quality_inspection", spec={}, task="qc"),
        made("100020", film(60), reused=True, run_id="an earlier one"), ended_s=NOON.timestamp(), source=film(90),
    )  # fmt: skip
    assert asked(call, types=["Transcode", "Snapshot", "AiQualityControl", "Enhance"]) == {
        "Transcode": (4, 210, {"Standard.H264.HD": 60, "Standard.H265.FHD": 60, "Audio": 30, "Remuxing": 60}),
        "Snapshot": (3, 4, {"SampleSnapshot": 2, "ImageSprite": 1, "SnapshotByTime": 1}),
        "AiQualityControl": (1, 90, {}),
        "Enhance": (0, 0, {}),
    }


def test_a_key_sees_what_its_owner_launched_and_what_it_may_read(deployed, records):
    """As with tasks."""
    call = deployed(KEYS)
    for owner, bucket, length in (("news", "any", 1), ("sport", "any", 10), ("", "films", 100), ("", "any", 1000)):
        tags = {"mps/bucket": bucket, **({"mps/account": owner} if owner else {})}
        records.add(made("100030", film(length)), ended_s=NOON.timestamp(), **tags)
    assert asked(call, "news", types=["Transcode"])["Transcode"][1] == 101
    assert asked(call, "sport", types=["Transcode"])["Transcode"][1] == 10


def test_every_day_has_a_number_and_each_run_is_read_once(call, records):
    records.add(made("100030", film(60)), ended_s=NOON.timestamp())
    for _ in range(2):
        answer = call("DescribeUsageData", StartTime=f"{NOON.date() - timedelta(days=2)}T00:00:00Z", EndTime=YESTERDAY)
        assert [item["Usage"] for item in answer["Data"][0]["Summary"]] == [0, 0, 60]
    assert len(records.read) == 1


def test_what_takes_too_long_goes_on_with_the_next_call(call, refused, records, monkeypatch):
    """The clients ask again when they get this code."""
    monkeypatch.setattr(usage, "READ_S", 0.0)
    records.add(made("100030", film(60)), ended_s=NOON.timestamp())
    assert refused("DescribeUsageData", StartTime=YESTERDAY, EndTime=YESTERDAY) == "RequestLimitExceeded"
    monkeypatch.setattr(usage, "READ_S", 40.0)
    assert asked(call, types=["Transcode"])["Transcode"][1] == 60


@pytest.mark.parametrize(
    ("start", "days", "parameters"),
    [
        (0, -1, {}),
        (-100, 91, {}),
        (-400, 10, {}),
        (0, 0, {"Types": ["Everything"]}),
    ],
)
def test_wrong_days_and_types_are_refused(refused, records, start, days, parameters):
    first = NOON + timedelta(days=start)
    times = {"StartTime": first.isoformat(), "EndTime": (first + timedelta(days=days)).isoformat()}
    assert refused("DescribeUsageData", **times, **parameters) == "InvalidParameterValue"
