"""The pages behind the API's keys, over a local bucket and a Dagster that has no runs."""

from __future__ import annotations

import re
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from itsdangerous import TimestampSigner
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.testclient import TestClient

from mps_dagster.api.keys import ApiKey
from mps_dagster.api.pages import pages
from mps_dagster.api.sessions import COOKIE_S, LINK_S, Sessions, login_link
from mps_dagster.control import tags
from mps_dagster.control.graphql import Dagster
from mps_dagster.pages.site import static_files, version
from mps_dagster.settings import Settings
from mps_dagster.storage.local import LocalBucket

ALL = ApiKey(secret_id="all", secret_key=SecretStr("a key that nobody guesses"), read=("*",), write=("*",))
NEWS = ApiKey(secret_id="news", secret_key=SecretStr("another that nobody has"), read=("news",))
VOD = """
name: vod
trigger: {bucket: inbox, dir: /in/}
output: {bucket: outputs}
tasks: {web: {type: transcode, outputs: [{definition: 100010}]}}
"""


@pytest.fixture
def settings(tmp_path, monkeypatch) -> Settings:
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "vod.yaml").write_text(VOD)
    monkeypatch.setattr(Dagster, "runs", lambda *_, **__: [])
    monkeypatch.setattr(Dagster, "newest_of", lambda *_: None)
    monkeypatch.setattr(Dagster, "add_partition", lambda *_: None)
    monkeypatch.setattr(Dagster, "launch", lambda *_, **__: "00000000-0000-0000-0000-000000000001")
    return Settings(project=tmp_path, home=tmp_path / "home", settle_s=0, max_source_bytes=1000)


@pytest.fixture
def outputs(settings) -> LocalBucket:
    bucket = LocalBucket("outputs", settings.buckets_dir / "outputs", settle_s=0)
    bucket.write("vod/a.mp4", b"0123456789")
    bucket.write("vod/evil.html", b"<script>")
    return bucket


@pytest.fixture
def visitor(settings) -> TestClient:
    sessions = Sessions({key.secret_id: key for key in (ALL, NEWS)})
    return TestClient(Starlette(routes=[pages(settings, sessions)]), base_url="http://mps", follow_redirects=False)


def signed_in(visitor: TestClient, key: ApiKey = ALL) -> TestClient:
    assert visitor.get(login_link("", key)).status_code == 303
    return visitor


def test_the_link_of_mps_up_signs_in_without_a_form(visitor):
    answer = visitor.get(login_link("", ALL))
    assert (answer.status_code, answer.headers["location"]) == (303, "/pages/")
    assert "HttpOnly" in answer.headers["set-cookie"]
    assert "All sources" in visitor.get("/pages/").text


def test_a_key_signs_in_and_leads_back(visitor):
    asked = visitor.get("/pages/task/x/")
    assert asked.status_code == 307
    form = {"secret_id": "all", "secret_key": ALL.secret_key.get_secret_value()}
    answer = visitor.post(asked.headers["location"], data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, "/pages/task/x/")


@pytest.mark.parametrize("target", ["https://elsewhere.example/", "//elsewhere.example/pages/", "/pagesx/"])
def test_nobody_is_led_elsewhere(visitor, target):
    form = {"secret_id": "all", "secret_key": ALL.secret_key.get_secret_value()}
    assert visitor.post("/pages/login", params={"next": target}, data=form).headers["location"] == "/pages/"


@pytest.mark.parametrize(
    "form",
    [{"secret_id": "all", "secret_key": "wrong"}, {"secret_id": "nobody", "secret_key": "x"}, {}, {"secret_id": "all"}, {"x": "y" * 9000}],
    ids=["a wrong key", "an unknown one", "nothing", "no key", "too much"],
)  # fmt: skip
def test_who_has_no_key_stays_outside(visitor, form):
    assert visitor.post("/pages/login", data=form).status_code == 401
    assert visitor.get("/pages/").status_code == 307
    assert visitor.get("/pages/index.json").status_code == 401


def test_a_signature_serves_one_purpose_for_a_while(visitor, monkeypatch):
    """A link is no cookie, and both are of one key and run out."""
    token = login_link("", ALL).partition("token=")[2]
    forged = TimestampSigner("guessed", salt="mps-pages-link").sign("all").decode()
    assert visitor.get("/pages/index.json", headers={"Cookie": f"mps_session={token}"}).status_code == 401
    assert visitor.get("/pages/login", params={"token": forged}).status_code == 401
    cookie = {"Cookie": visitor.get("/pages/login", params={"token": token}).headers["set-cookie"].partition(";")[0]}
    visitor.cookies.clear()
    now = time.time()
    for age_s, link, page in ((LINK_S - 60, 303, 200), (LINK_S + 60, 401, 200), (COOKIE_S + 60, 401, 401)):
        monkeypatch.setattr(time, "time", lambda age_s=age_s: now + age_s)
        assert visitor.get("/pages/index.json", headers=cookie).status_code == page
        assert visitor.get("/pages/login", params={"token": token}).status_code == link
        visitor.cookies.clear()


def test_media_are_served_in_parts_and_nothing_that_a_browser_executes(visitor, outputs):
    signed_in(visitor)
    part = visitor.get("/pages/media/outputs/vod/a.mp4", headers={"Range": "bytes=2-4"})
    assert (part.status_code, part.content) == (206, b"234")
    assert visitor.get("/pages/media/outputs/vod/evil.html").status_code == 403


def test_a_key_sees_its_own_buckets_only(visitor, outputs):
    signed_in(visitor, NEWS)
    assert visitor.get("/pages/media/outputs/vod/a.mp4").status_code == 403
    assert visitor.get("/pages/source/outputs/abc/page.json").status_code == 403
    assert visitor.get("/pages/index.json").json() == {"entries": [], "workflows": []}
    answer = visitor.post("/pages/upload/vod/a.mp4", content=b"x", headers={"x-mps-upload": "1"})
    assert (answer.status_code, "may not write the bucket 'inbox'" in answer.text) == (403, True)


def test_an_upload_goes_where_the_workflow_looks_and_is_run(visitor, settings):
    signed_in(visitor)
    answer = visitor.post("/pages/upload/vod/a%20film.mp4", content=b"film", headers={"x-mps-upload": "1"})
    assert answer.json()["task_id"] == "mps-WorkflowTask-00000000000000000000000000000001"
    assert (settings.buckets_dir / "inbox" / "in" / "a film.mp4").read_bytes() == b"film"
    assert list(settings.scratch_dir.iterdir()) == []


def test_an_upload_that_the_sensor_was_quicker_with_has_one_run(visitor, monkeypatch):
    quicker = SimpleNamespace(root_run_id="00000000-0000-0000-0000-000000000009")
    monkeypatch.setattr(Dagster, "runs", lambda _, query, **__: [quicker] if tags.RUN_KEY in query["tags"] else [])
    monkeypatch.setattr(Dagster, "launch", lambda *_, **__: pytest.fail("a second run"))
    answer = signed_in(visitor).post("/pages/upload/vod/a.mp4", content=b"film", headers={"x-mps-upload": "1"})
    assert answer.json()["task_id"].endswith("9")


@pytest.mark.parametrize(
    ("path", "content", "headers", "status", "words"),
    [
        ("vod/a.mp4", b"x", {}, 401, "sign in"),
        ("vod/a.mp4", b"", {"x-mps-upload": "1"}, 400, "empty"),
        ("vod/a.mp4", b"x" * 1001, {"x-mps-upload": "1"}, 400, "MPS_MAX_SOURCE_BYTES"),
        ("nothing/a.mp4", b"x", {"x-mps-upload": "1"}, 400, "there is no workflow"),
        ("vod/..", b"x", {"x-mps-upload": "1"}, 404, ""),
        ("vod/a%2F..%2F..%2Fb.mp4", b"x", {"x-mps-upload": "1"}, 200, "task_id"),
    ],
    ids=["a form of another site", "nothing", "too large", "no such workflow", "no name", "a path is only a name"],
)  # fmt: skip
def test_bad_uploads_are_refused_in_words(visitor, settings, path, content, headers, status, words):
    signed_in(visitor)
    answer = visitor.post(f"/pages/upload/{path}", content=content, headers=headers)
    assert (answer.status_code, words in answer.text) == (status, True), answer.text
    inbox = settings.buckets_dir / "inbox"
    assert [file.name for file in inbox.rglob("*") if file.is_file()] == (["b.mp4"] if status == 200 else [])


def test_an_upload_never_overwrites(visitor, settings):
    signed_in(visitor)
    for status in (200, 400):
        answer = visitor.post("/pages/upload/vod/a.mp4", content=b"x", headers={"x-mps-upload": "1"})
        assert answer.status_code == status
    assert "rename the file" in answer.text


def test_a_page_has_a_strict_policy_and_loads_only_what_the_package_has(visitor):
    answer = signed_in(visitor).get("/pages/")
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    for address in re.findall(r'(?:src|href)="(/pages/static/[^"]+)"', answer.text):
        assert visitor.get(address).status_code == 200
    assert visitor.get(f"/pages/static/{version()}/../../keys.py").status_code == 404
    assert visitor.get(f"/pages/static/{version()}/{Path('style.css')}").headers["content-type"].startswith("text/css")
    assert "login.html" in static_files()


def test_a_task_that_is_not_there_is_told_so(visitor):
    answer = signed_in(visitor).get(f"/pages/task/mps-WorkflowTask-{'0' * 32}/page.json")
    assert (answer.status_code, "there is no task" in answer.text) == (404, True)
    assert visitor.get("/pages/task/nonsense/page.json").status_code == 400
