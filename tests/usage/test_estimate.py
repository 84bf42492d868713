"""What an output will cost, from what those took that were made alike."""

from __future__ import annotations

import pytest
from recorded import START_S, Recorded, film, made

from mps_dagster.storage.memory import MemoryBucket
from mps_dagster.usage.estimate import Estimate, estimates
from mps_dagster.usage.files import DailyFiles, Usage
from mps_dagster.usage.runs import Days
from mps_dagster.workflow.model import Task

from .test_usage import DAY

TASK = Task(name="vod", type="transcode", outputs=({"definition": 100030, "name": "hd"},))
SPEC = TASK.specs[0].model_dump(mode="json")


def estimate(history, source, task: Task = TASK, **members) -> Estimate:
    """`history` has sources with the CPU seconds that they took, and the bytes that were made of them."""
    records = Recorded()
    for number, (media, cpu_s, size) in enumerate(history):
        output = made("100030", film(1), spec=SPEC, cpu_s=cpu_s, size=size, **members)
        records.add(output, source=media, ended_s=START_S + number)
    table = Usage(DailyFiles(MemoryBucket("usage")), records, {}).table(Days(DAY, DAY))
    [one] = estimates(table, [task], source)
    return one


def test_it_grows_with_length_and_picture():
    """The error is that of the same estimate for each earlier one."""
    history = [(film(60), 30, 600), (film(120), 60, 1200), (film(60, 960, 540), 7.5, 150)]
    one = estimate(history, film(600))
    assert one.samples == 3
    assert one.cpu_s.value == pytest.approx(300)
    assert one.cpu_s.error == pytest.approx(0, abs=1e-9)
    assert (one.cpu_s.scale, one.size_bytes.value) == ("seconds × pixels", pytest.approx(6000))


def test_the_error_is_that_of_leaving_each_one_out():
    """Ratios of 1, 2 and 4: their median is 2, and without each of them the others' is 3, 2.5 and 1.5."""
    one = estimate([(film(60), 60, 1), (film(60), 120, 1), (film(60), 240, 1)], film(60))
    assert one.cpu_s.value == pytest.approx(120)
    assert one.cpu_s.error == pytest.approx(0.625)
    assert (one.cpu_s.low, one.cpu_s.high) == pytest.approx((72, 216))


def test_what_does_not_grow_with_the_source_is_estimated_as_it_is():
    """Such as the ten pictures of a sample snapshot: their size."""
    one = estimate([(film(length), 1, 1000 + length / 10) for length in (10, 100, 1000, 3000)], film(2000))
    assert one.size_bytes.scale == "constant"
    assert one.size_bytes.value == pytest.approx(1055)


def test_where_nothing_was_made_alike_there_is_no_estimate():
    """Another name or place does not matter; another size does."""
    history = [(film(60), 30, 600)]
    outputs = {"definition": 0, "name": "other", "output_object_path": "/elsewhere/{inputName}"}
    alike = Task(name="other", type="transcode", outputs=(outputs,))
    unlike = Task(name="vod", type="transcode", outputs=({**outputs, "video_template": {"height": 90}},))
    assert estimate(history, film(60), alike).samples == 1
    assert estimate(history, film(60), unlike) == Estimate("vod", "other", 0)
    assert estimate([], film(60)) == Estimate("vod", "hd", 0)


def test_what_stood_already_tells_nothing():
    """It took nothing, this time."""
    assert estimate([(film(60), 30, 600)], film(60), reused=True, run_id="an earlier one").samples == 0


def test_one_sample_has_no_error():
    one = estimate([(film(60), 30, 600)], film(120))
    assert (one.cpu_s.value, one.cpu_s.error, one.cpu_s.beyond) == (pytest.approx(60), None, True)


def test_a_source_within_the_sizes_of_the_others_is_not_beyond_them():
    history = [(film(60), 30, 600), (film(180), 90, 1800)]
    assert [estimate(history, film(length)).cpu_s.beyond for length in (59, 60, 120, 181)] == [True, False, False, True]
