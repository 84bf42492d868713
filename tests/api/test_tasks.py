"""ProcessMedia, up to where Dagster takes over; tests/cli has a real one."""

from __future__ import annotations

from mps_dagster.api.graphql import Dagster


def test_the_password_in_a_url_stays_in_the_run(call, monkeypatch):
    """Which needs it. What queries and notifications tell of the input comes from the tag."""
    launched = []
    run_id = "00000000-0000-0000-0000-000000000000"
    monkeypatch.setattr(Dagster, "launch", lambda _, *launch: launched.append(launch) or run_id)
    call(
        "ProcessMedia",
        InputInfo={"Type": "URL", "UrlInputInfo": {"Url": "https://anna:secret@films.example/film.mp4?a=@b"}},
        MediaProcessTask={"TranscodeTaskSet": [{"Definition": 100030}]},
    )
    [(_, config, tags)] = launched
    assert tags["mps/url"] == "https://films.example/film.mp4?a=@b"
    assert "secret" not in str(tags)
    assert config["ops"]["source"]["config"]["url"] == "https://anna:secret@films.example/film.mp4?a=@b"
