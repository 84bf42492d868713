"""The asset `usage`, over a real run on a real instance."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, date, datetime, timedelta

import dagster as dg
import pandas as pd
import pytest
from dagster._core.test_utils import freeze_time

from mps_dagster.errors import InvalidInput
from mps_dagster.orchestration.usage import InstanceRecords, check_kept
from mps_dagster.usage.files import DailyFiles
from mps_dagster.usage.runs import Days, ended_runs
from mps_dagster.workflow.naming import DAILY_USAGE


def test_a_day_is_written_as_files_and_as_numbers_that_dagster_plots(house, clips):
    """The day after; and once more, which changes nothing."""
    house.upload(clips.video(), "in/clip.mp4")
    run = house.run("in/clip.mp4")
    job = house.defs.resolve_job_def(DAILY_USAGE)
    [record] = house.instance.get_run_records(dg.RunsFilter(run_ids=[run.run_id]))
    day = datetime.fromtimestamp(record.end_time, UTC).date()
    folder, written = house.settings.usage_dir, []
    for _ in range(2):
        with freeze_time(datetime.now(UTC) + timedelta(days=1)):
            assert job.execute_in_process(instance=house.instance, partition_key=day.isoformat()).success
        written.append([(folder / f"{day}.{kind}").read_bytes() for kind in ("csv", "parquet")])
    assert written[0] == written[1]
    table = DailyFiles.of(house.settings, house.buckets).read(day)
    assert sorted(table[["task", "output", "outcome", "codec"]].to_numpy().tolist()) == [
        ["stills", "10", "made", ""], ["teaser", "teaser", "made", "gif"],
        ["web", "small", "made", "h264"], ["web", "sound", "made", "mp3"],
    ]  # fmt: skip
    small = table[table["output"] == "small"].iloc[0]
    assert (small["source_s"], small["output_s"], small["height"]) == pytest.approx((2.0, 2.0, 90), abs=0.05)
    assert small["cpu_s"] > 0
    pd.testing.assert_frame_equal(
        pd.read_csv(folder / f"{day}.csv", keep_default_na=False)[["cpu_s", "output_bytes"]],
        table[["cpu_s", "output_bytes"]],
    )
    event = house.instance.get_latest_materialization_event(dg.AssetKey("usage"))
    numbers = {name: value.value for name, value in event.asset_materialization.metadata.items()}
    assert (event.dagster_event.partition, numbers["tasks"], numbers["outputs"], numbers["failed"]) == (
        day.isoformat(),
        1,
        4,
        0,
    )
    assert numbers["bytes_out"] == table["output_bytes"].sum()
    assert numbers["cpu_s workflow vod"] == pytest.approx(numbers["cpu_s"])
    assert [stored.run_id for stored in ended_runs(InstanceRecords(house.instance), Days(day, day))] == [run.run_id]


@pytest.mark.parametrize(
    ("keep_days", "now", "day", "kept"),
    [
        (0, "2026-11-27T00:20", "2026-01-01", True),
        (1, "2026-11-27T00:20", "2026-11-26", True),
        (1, "2026-11-27T00:20", "2026-11-25", False),
        (1, "2026-11-27T04:18", "2026-11-26", False),
        (30, "2026-11-27T04:18", "2026-10-29", True),
        (30, "2026-11-27T04:18", "2026-10-28", False),
    ],
)
def test_a_day_of_which_runs_may_be_gone_is_not_written_again(keep_days, now, day, kept):
    """Its file would be replaced by a smaller one. The removal at 4:17 begins in the middle of a day."""
    moment = datetime.fromisoformat(now).replace(tzinfo=UTC)
    with nullcontext() if kept else pytest.raises(InvalidInput, match=day):
        check_kept(date.fromisoformat(day), keep_days, moment)
