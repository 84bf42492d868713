"""From Dagster's records to the sums of days."""

from __future__ import annotations

from datetime import date

import pandas as pd
import pytest
from recorded import START_S, Recorded, film, made, sound

from mps_dagster.control.steps import StepEvent
from mps_dagster.storage.memory import MemoryBucket
from mps_dagster.streaming.segments import Segments
from mps_dagster.tasks.result import SegmentSet
from mps_dagster.usage.files import DailyFiles, Usage
from mps_dagster.usage.runs import PAGE, Days, runs_of
from mps_dagster.usage.table import FIGURES, summed
from mps_dagster.workflow.parse import parse_workflow
from mps_dagster.workflow.templates import Templates

DAY = date(2026, 11, 26)
TODAY = Days(DAY, DAY)


def usage_of(records: Recorded, **workflows) -> Usage:
    return Usage(DailyFiles(MemoryBucket("usage")), records, workflows)


def table_of(records: Recorded) -> pd.DataFrame:
    return usage_of(records).table(TODAY)


def totals(records: Recorded) -> dict[str, float]:
    [line] = summed(table_of(records), ()).to_dict("records")
    return line


def part(name: str, *media, **members):
    return made("10", *media, id=f"p0_{name}", kind="adaptive_dynamic_streaming", **members)


TRACK = SegmentSet(
    names=Segments(
        pattern="s%d.ts", key_pattern="s{number}.ts", playlist="s.m3u8", first=0, step=1, width=1, placeholder="0"
    ),
    count=3,
    size_bytes=900,
    digest="",
)
SET = made(
    "10", film(60, 640, 360), kind="adaptive_dynamic_streaming", size=100, tracks=(TRACK,), cpu_s=1.0,
    parts=(
        part("picture_0", film(60, 640, 360), cpu_s=10.0), part("picture_1", film(60, 1280, 720), cpu_s=30.0),
        part("sound_0", sound(60), cpu_s=2.0), part("thumbnails", (320, 180), cpu_s=3.0),
    ),
)  # fmt: skip


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (made("100030", film(60, 1280, 720)), {"minutes_out": 1, "pixels": 1280 * 720 * 1500, "bytes_out": 500, "cpu_s": 8}),
        (made("sound", sound(60)), {"minutes_out": 1, "pixels": 0, "bytes_out": 500}),
        (made("10", (320, 180), (320, 180), kind="sample_snapshot"), {"minutes_out": 0, "pictures": 2, "pixels": 2 * 320 * 180, "bytes_out": 1000}),
        (SET, {"outputs": 1, "minutes_out": 2, "pixels": (640 * 360 + 1280 * 720) * 1500, "bytes_out": 1000, "cpu_s": 46, "pictures": 0}),
        (made("100030", film(60), parts=(part("chunk_0", film(30), cpu_s=20.0), part("chunk_1", film(30), cpu_s=20.0))), {"minutes_out": 1, "cpu_s": 48}),
        (made("100030", film(60), reused=True, run_id="an earlier one"), {"outputs": 0, "reused": 1, "minutes_in": 1, "minutes_out": 0, "bytes_out": 0, "cpu_s": 0}),
    ],
    ids=["film", "sound", "stills", "set", "chunks", "reused"],
)  # fmt: skip
def test_what_an_output_counts_for(result, expected):
    records = Recorded()
    records.add(result)
    line = totals(records)
    assert {name: line[name] for name in expected} == pytest.approx(expected)


def test_a_part_of_two_outputs_is_work_once():
    """Such as a rendition in HLS and in DASH: both play it, but it was encoded once."""
    records = Recorded()
    records.add(SET, SET.model_copy(update={"id": "1_dash", "label": "dash"}))
    line = totals(records)
    assert (line["outputs"], line["minutes_out"], line["cpu_s"]) == (2, 4, 47)


def test_a_part_that_an_earlier_run_has_made_is_that_run_s_work():
    """It stood when a user ran again what had failed."""
    records = Recorded()
    first = records.add(made("100020", film(60)), failed=[SET], status="FAILURE")
    old = SET.parts[0].model_copy(update={"run_id": first})
    records.add(SET.model_copy(update={"parts": (old, *SET.parts[1:])}), **{"dagster/root_run_id": first})
    assert totals(records)["cpu_s"] == 8 + 46 - 10


def test_an_upload_counts_once_however_many_outputs_it_has():
    """Once in each line, too."""
    records = Recorded()
    records.add(made("100030", film(60)), made("100020", film(60)), source=film(60))
    records.add(made("100030", film(60)), source=film(120))
    assert totals(records)["minutes_in"] == 3
    lines = summed(table_of(records), ["template"]).set_index("template")
    assert lines["minutes_in"].to_dict() == {"transcode/100030": 3, "transcode/100020": 1}
    assert lines["tasks"].to_dict() == {"transcode/100030": 2, "transcode/100020": 1}


def test_failures_are_counted_by_code():
    """The work of those outputs that were made counts all the same."""
    records = Recorded()
    records.add(
        made("100030", film(60)), failed=[made("100020")], status="FAILURE", code="SourceFileError.NoVideoMedia"
    )
    lines = summed(table_of(records), ["code"]).set_index("code")
    assert lines["failed"].to_dict() == {"": 0, "SourceFileError.NoVideoMedia": 1}
    assert lines.loc["SourceFileError.NoVideoMedia", "wall_s"] == pytest.approx(10)
    assert lines.loc["", "cpu_s"] == 8


def test_outputs_that_a_run_never_began_are_failures_of_it():
    records = Recorded()
    records.add(status="CANCELED")
    text = "name: vod\ntrigger: {bucket: inbox}\ntasks: {more: {type: transcode, outputs: [{name: a}]}}"
    table = usage_of(records, vod=parse_workflow(text, Templates({}), name="vod")).table(TODAY)
    assert table[["task", "template", "outcome", "code"]].to_numpy().tolist() == [
        ["more", "transcode", "failed", "InternalError"]
    ]


def test_a_source_that_cannot_be_used_is_one_failure():
    records = Recorded()
    run_id = records.add(status="FAILURE")
    error = {"code": "SourceFileError.X", "number": 60000}
    records.logs[run_id] = [StepEvent("vod__source", "STEP_FAILURE", START_S, error)]
    [row] = table_of(records).to_dict("records")
    assert (row["outcome"], row["code"], row["task"]) == ("failed", "SourceFileError.X", "")


def test_a_retried_run_is_one_task_with_the_work_of_all_attempts():
    """What an attempt made stands for the next one, and is made by this task all the same."""
    records = Recorded()
    first = records.add(
        made("100030", film(60)), failed=[made("100020")], status="FAILURE", **{"dagster/auto_retry_run_id": "x"}
    )
    again = made("100030", film(60), reused=True, run_id=first)
    tags = {"dagster/root_run_id": first, "mps/first_run": first, "dagster/retry_number": "1"}
    records.add(again, made("100020", film(60), cpu_s=5.0), **tags)
    line = totals(records)
    assert {name: line[name] for name in ("tasks", "outputs", "reused", "failed", "cpu_s", "minutes_in")} == {
        "tasks": 1, "outputs": 2, "reused": 0, "failed": 0, "cpu_s": 13, "minutes_in": 1,
    }  # fmt: skip


def test_the_work_of_an_attempt_counts_though_its_retry_was_aborted():
    records = Recorded()
    first = records.add(made("100030", film(60)), status="FAILURE", **{"dagster/auto_retry_run_id": "x"})
    tags = {"dagster/root_run_id": first, "mps/first_run": first, "dagster/retry_number": "1"}
    records.add(failed=[made("100030")], status="CANCELED", **tags)
    line = totals(records)
    assert (line["tasks"], line["outputs"], line["failed"], line["cpu_s"]) == (1, 0, 1, 8)


def test_a_run_that_a_user_repeats_is_work_of_its_own():
    """Both ended, each on its day; they are one task."""
    records = Recorded()
    first = records.add(failed=[made("100030")], status="FAILURE")
    records.add(made("100030", film(60)), **{"dagster/root_run_id": first, "mps/first_run": first})
    line = totals(records)
    assert (line["tasks"], line["outputs"], line["failed"]) == (1, 1, 1)


@pytest.mark.parametrize(
    ("ended", "counts"),
    [("2026-11-25T23:59:59.9", False), ("2026-11-26T00:00:00", True), ("2026-11-26T23:59:59.9", True), ("2026-11-27T00:00:00", False)],
)  # fmt: skip
def test_a_run_counts_on_the_day_on_which_it_ended(ended, counts):
    """UTC; when it began does not matter."""
    records = Recorded()
    records.add(made("100030", film(60)), ended_s=pd.Timestamp(ended, tz="UTC").timestamp())
    assert len(table_of(records)) == counts


@pytest.mark.parametrize(
    ("status", "tags"),
    [
        ("STARTED", {}),
        ("FAILURE", {"dagster/will_retry": "true"}),
        ("FAILURE", {"dagster/auto_retry_run_id": "x"}),
        ("SUCCESS", {"mps/workflow": ""}),
    ],
)
def test_what_has_not_ended_and_what_is_no_task_does_not_count(status, tags):
    records = Recorded()
    records.add(made("100030", film(60)), status=status, **tags)
    assert table_of(records).empty
    assert records.read == []


def test_runs_are_read_in_pages_and_those_of_other_days_without_their_events():
    records = Recorded()
    for number in range(PAGE + 3):
        records.add(made("100030", film(60)), ended_s=START_S + number)
    late = records.add(made("100030", film(60)), ended_s=START_S + 24 * 3600)
    assert len(table_of(records)) == PAGE + 3
    assert late not in records.read
    assert len(records.queries) == 2


def test_a_day_is_the_same_when_it_is_written_again():
    """Byte for byte, whatever was recorded later."""
    records = Recorded()
    records.add(made("100030", film(60)), SET, **{"mps/account": "news"})
    usage = usage_of(records)
    usage.write(DAY)
    files = [usage.files.bucket.read(name) for name in (f"{DAY}.csv", f"{DAY}.parquet")]
    records.add(made("100030", film(60)), ended_s=START_S + 24 * 3600)
    usage.write(DAY)
    assert files == [usage.files.bucket.read(name) for name in (f"{DAY}.csv", f"{DAY}.parquet")]


def test_a_written_day_is_read_from_its_file_and_the_others_from_dagster():
    """All at once where several days follow one another; each run once."""
    records = Recorded()
    records.add(made("100030", film(60)), **{"mps/account": "news"})
    records.add(made("100020", film(30)), ended_s=START_S + 24 * 3600)
    usage, days = usage_of(records), Days(date(2026, 11, 24), date(2026, 11, 27))
    expected = usage.table(days)
    usage.write(DAY)
    records.queries.clear()
    records.read.clear()
    pd.testing.assert_frame_equal(Usage(usage.files, records, {}).table(days), expected)
    assert len(records.queries) == 2
    assert records.read == [records.stored[1].run_id]
    usage.table(days)
    assert records.read == [records.stored[1].run_id], "what was read once is remembered"


def test_a_file_of_another_version_is_not_used():
    records = Recorded()
    records.add(made("100030", film(60)))
    usage = usage_of(records)
    expected = usage.write(DAY)
    usage.files.write(DAY, expected.drop(columns="pixels"))
    pd.testing.assert_frame_equal(usage.table(TODAY), expected)


def test_no_runs_are_a_table_of_zeros():
    assert totals(Recorded()) == dict.fromkeys(FIGURES, 0)
    assert summed(table_of(Recorded()), ["workflow", "key"]).empty


def test_days_that_follow_one_another_are_joined():
    days = [date(2026, 11, day) for day in (1, 2, 3, 5, 30)] + [date(2026, 12, 1)]
    assert [(gap.first.day, gap.last.day) for gap in runs_of(days)] == [(1, 3), (5, 5), (30, 1)]
