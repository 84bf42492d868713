"""DescribeMediaMetaData: a look at a file inside the call, which may take only little and hold up nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mps_dagster.api.action import Call, read_request
from mps_dagster.api.actions import meta_data
from mps_dagster.api.error import ApiError
from mps_dagster.api.keys import ApiKey
from mps_dagster.ffmpeg.program import Ffmpeg
from mps_dagster.media.info import MediaInfo

from .conftest import SECRET_ID, SECRET_KEY

KEY = ApiKey(secret_id=SECRET_ID, secret_key=SECRET_KEY, read=("*",))
MEDIA = MediaInfo(container="mov", size_bytes=4, duration_s=1)
URL = {"Type": "URL", "UrlInputInfo": {"Url": "http://films.example/film.mp4"}}
COS = {"Type": "COS", "CosInputInfo": {"Bucket": "inbox", "Object": "/film.mp4"}}


@pytest.fixture
def film(settings) -> Path:
    """In a bucket."""
    path = settings.buckets_dir / "inbox" / "film.mp4"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"film")
    return path


@pytest.fixture
def limits(monkeypatch) -> dict[str, Any]:
    """What the web and the probe, which are not asked, were given."""
    limits: dict[str, Any] = {}

    def fetch(url: str, path: Path, web: object, **given: Any) -> None:
        limits.update(given)
        path.write_bytes(b"film")

    def probe(self: Ffmpeg, path: Path, **given: Any) -> MediaInfo:
        limits.update(given)
        return MEDIA

    monkeypatch.setattr(meta_data, "fetch", fetch)
    monkeypatch.setattr(Ffmpeg, "probe", probe)
    return limits


@pytest.fixture
def look(settings, film, limits) -> Callable[[dict[str, Any]], Any]:
    """The action, as a server has it."""
    action = meta_data.meta_data_actions(settings)["DescribeMediaMetaData"]
    return lambda info: action.run(Call(read_request(action.model, {"InputInfo": info}), KEY, "request"))


def test_it_ends_while_the_sdk_still_waits(look, limits):
    """Which is a minute."""
    assert look(URL)["MetaData"]["Size"] == 4
    assert limits["seconds"] + limits["wall_s"] <= 60
    assert limits["max_bytes"] == meta_data.MAX_BYTES


@pytest.mark.parametrize("info", [URL, COS], ids=["URL", "COS"])
def test_only_a_few_files_are_looked_at_at_a_time(look, monkeypatch, info):
    """The SDKs wait and retry. A probe that failed frees its slot, too."""
    entered, leave = threading.Semaphore(0), threading.Event()

    def probe(*_: object, **__: object) -> MediaInfo:
        entered.release()
        assert leave.wait(30)
        return MEDIA

    with pytest.raises(ApiError, match=r"InvalidParameterValue\.SrcFile"):
        look({"Type": "COS", "CosInputInfo": {"Bucket": "inbox", "Object": "/none.mp4"}})
    monkeypatch.setattr(Ffmpeg, "probe", probe)
    with ThreadPoolExecutor(meta_data.AT_ONCE) as pool:
        looks = [pool.submit(look, info) for _ in range(meta_data.AT_ONCE)]
        try:
            assert all(entered.acquire(timeout=30) for _ in looks)
            for other in (URL, COS):
                with pytest.raises(ApiError, match="RequestLimitExceeded"):
                    look(other)
        finally:
            leave.set()
        assert all(each.result()["MetaData"]["Size"] == 4 for each in looks)
    assert look(info)["MetaData"]["Size"] == 4


def test_a_large_object_is_not_copied_for_a_look(look, film, settings):
    """A task takes it; so the error says."""
    with film.open("ab") as file:
        file.truncate(meta_data.MAX_BYTES + 1)
    with pytest.raises(ApiError, match=r"(?s)InvalidParameterValue\.SrcFile.*2147483649 bytes.*MPS_MAX_SOURCE_BYTES"):
        look(COS)
    assert list(settings.scratch_dir.iterdir()) == []
