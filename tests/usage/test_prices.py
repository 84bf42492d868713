"""Rules that turn rows into money."""

from __future__ import annotations

import pytest
from recorded import Recorded, film, made, sound

from mps_dagster.errors import InvalidConfiguration, InvalidInput
from mps_dagster.settings import Settings
from mps_dagster.storage.memory import MemoryBucket
from mps_dagster.usage.files import DailyFiles, Usage
from mps_dagster.usage.prices import PriceTable, load_prices, price_table
from mps_dagster.usage.runs import Days
from mps_dagster.usage.table import table_of

from .test_usage import DAY, SET

HD = {"per": "minute", "price": 2, "codecs": ["h264"], "short_side": 720}
FHD = {"per": "minute", "price": 5, "codecs": ["h264"], "short_side": 1080}


def priced(rules: list[dict[str, object]], *results) -> tuple[float, int]:
    """Money, and how many rows have no price."""
    records = Recorded()
    records.add(*results)
    table = Usage(DailyFiles(MemoryBucket("usage")), records, {}).table(Days(DAY, DAY))
    priced = PriceTable.model_validate({"currency": "USD", "date": "2026-11-27", "rules": rules}).price(table)
    return priced["money"].sum(), int(priced["unpriced"].sum())


@pytest.mark.parametrize(
    ("rules", "result", "money", "unpriced"),
    [
        ([HD, FHD], made("100030", film(90, 1280, 720)), 3, 0),
        ([HD, FHD], made("100030", film(90, 720, 1280)), 3, 0),
        ([HD, FHD], made("100030", film(60, 1920, 1080)), 5, 0),
        ([HD, FHD], made("100030", film(60, 3840, 2160)), 0, 1),
        ([HD, FHD], made("100030", film(60, codec="hevc")), 0, 1),
        ([HD, FHD], made("100030", film(60), reused=True, run_id="an earlier one"), 0, 0),
        ([HD], SET, 4, 0),
        ([{**HD, "max_fps": 30}], made("100030", film(60, 1280, 720, 60)), 0, 1),
        ([{"per": "minute", "price": 1, "sound": True}], made("a", sound(60)), 1, 0),
        ([{"per": "minute", "price": 1, "sound": False}], made("a", sound(60)), 0, 1),
        ([{"per": "minute", "price": 1, "codecs": ["copy"]}], made("a", film(60), spec={"video_template": {"codec": "copy"}}), 1, 0),
        ([{"per": "picture", "price": 0.1, "types": ["sample_snapshot"]}], made("10", (320, 180), (320, 180), kind="sample_snapshot"), 0.2, 0),
        ([{"per": "cpu_second", "price": 0.01}, {"per": "gigabyte", "price": 2e6}], made("a", film(60)), 0.08 + 1, 0),
        ([{"per": "output", "price": 7}], SET, 7, 0),
    ],
)  # fmt: skip
def test_what_an_output_costs(rules, result, money, unpriced):
    """Of each unit the first rule that fits; units are added up."""
    assert priced(rules, result) == (pytest.approx(money), unpriced)


def test_the_example_prices_a_film_by_two_clouds():
    """From the file that comes with the package."""
    records = Recorded()
    records.add(made("100030", film(600, 1280, 720)))
    table = Usage(DailyFiles(MemoryBucket("usage")), records, {}).table(Days(DAY, DAY))
    money = {name: prices.price(table)["money"].sum() for name, prices in load_prices(Settings()).items()}
    assert money == pytest.approx({"tencent_mps": 0.325, "aws_mediaconvert_basic": 0.15})


def test_nothing_costs_nothing():
    assert price_table(Settings(), "tencent_mps").price(table_of(()))["money"].sum() == 0


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("own: {currency: USD, date: 2026-01-01, rules: [{per: hour, price: 1}]}", "own.rules.0.per"),
        ("own: {currency: USD, date: 2026-01-01, rules: []}", "own.rules"),
        ("own: {currency: USD, rules: [{per: output, price: 1}]}", "own.date"),
        ("own: [", "not YAML"),
        (None, "cannot read"),
    ],
)
def test_a_wrong_file_is_named_with_its_problem(tmp_path, text, problem):
    path = tmp_path / "prices.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InvalidConfiguration, match=problem):
        load_prices(Settings(prices=path))


def test_a_table_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(InvalidInput, match="azure") as caught:
        price_table(Settings(), "azure")
    assert "tencent_mps" in caught.value.hint
