"""The pages in a real browser, as plain files behind a plain web server."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from players.programs import node_modules
from playwright.sync_api import Page, expect

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("players")]

PHONE = {"width": 360, "height": 740}


@pytest.fixture
def page(chromium, written) -> Iterator[Page]:
    """A tab; whatever it asks for elsewhere, and any error in its console, fails the test."""
    tab, problems = chromium.new_page(), []
    tab.on(
        "request",
        lambda request: request.url.startswith((written.address, "blob:", "data:")) or problems.append(request.url),
    )
    tab.on("response", lambda answer: answer.status < 400 or problems.append(f"{answer.status} {answer.url}"))
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.on("console", lambda message: message.type != "error" or problems.append(message.text))
    yield tab
    tab.close()
    assert not problems


VIDEO = "document.querySelector('video')"


def seconds(page: Page) -> float:
    return page.evaluate(f"{VIDEO}.currentTime")


def wait_for(page: Page, condition: str) -> None:
    """`Page.wait_for_function` evaluates in the page, whose policy forbids that."""
    deadline = time.monotonic() + 60
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, condition
        page.wait_for_timeout(50)


def wait_for_picture(page: Page, width: int) -> None:
    wait_for(page, f"{VIDEO}?.readyState >= 2 && {VIDEO}.videoWidth == {width}")


def test_the_page_plays_the_ladder_with_a_choice_of_quality(page, written):
    page.goto(written.page)
    wait_for_picture(page, 320)
    page.evaluate(f"{VIDEO}.play()")
    wait_for(page, f"{VIDEO}.currentTime > 1")
    page.get_by_role("button", name="Resolution", exact=True).click()
    expect(page.locator(".shaka-resolutions")).to_contain_text("180p")
    expect(page.locator(".shaka-resolutions")).to_contain_text("90p")


def test_another_output_can_be_chosen(page, written):
    page.goto(written.page)
    page.get_by_label("Shown output").select_option(label="web/small (mp4, 160 × 90)")
    wait_for_picture(page, 160)


def test_a_stills_time_brings_the_player_there(page, written):
    page.goto(written.page)
    wait_for_picture(page, 320)
    page.get_by_role("button", name="0:03", exact=True).click()
    wait_for(page, f"!{VIDEO}.seeking")
    assert seconds(page) == pytest.approx(3.0, abs=0.05)


def test_the_seek_bar_shows_the_sprites_pictures(page, written):
    page.goto(written.page)
    wait_for_picture(page, 320)
    bar = page.locator(".shaka-seek-bar").bounding_box()
    page.mouse.move(bar["x"] + bar["width"] * 0.7, bar["y"] + bar["height"] / 2, steps=3)
    picture = page.locator(".shaka-player-ui-thumbnail-image")
    expect(picture).to_be_visible()
    assert "imageSprite" in picture.get_attribute("src")
    expect(page.locator(".shaka-player-ui-thumbnail-time")).to_have_text("0:04")


def test_the_page_tells_what_failed_and_what_to_do(page, written):
    page.goto(written.page)
    problems = page.get_by_role("region", name="What went wrong")
    expect(problems).to_contain_text("web/late: the range from 500 s")
    expect(problems).to_contain_text("What to do: offsets are seconds from the start")
    expect(page.get_by_role("row", name="web/late")).to_contain_text("failed")
    expect(page.get_by_role("row", name="ladder/ladder")).to_contain_text("done")


def test_names_and_texts_of_users_are_shown_as_text(page, written):
    page.goto(written.page)
    expect(page.get_by_role("heading", level=1)).to_have_text("a film & <i>more.mp4")
    assert page.locator("main i, main b").count() == 0


def test_a_slider_uncovers_the_picture_before_the_watermark(page, written):
    page.goto(written.page)
    shown = page.locator(".comparison")
    expect(shown).to_contain_text("branded/branded")
    page.get_by_label("How much is shown without the watermark").fill("80")
    expect(shown.get_by_alt_text("before the watermark")).to_have_css("clip-path", "inset(0px 20% 0px 0px)")
    sizes = shown.locator("img").evaluate_all("pictures => pictures.map((one) => [one.naturalWidth, one.clientWidth])")
    assert sizes[0] == sizes[1] != [0, 0]


def test_the_index_finds_a_source_by_name_workflow_and_state(page, written):
    page.goto(written.index)
    cards = page.locator(".card")
    expect(cards).to_have_count(1)
    expect(cards).to_contain_text("0:06 · 320 × 180")
    page.get_by_label("Search").fill("nothing like it")
    expect(cards).to_have_count(0)
    page.get_by_label("Search").fill("FILM")
    page.get_by_label("Workflow").select_option("film")
    page.get_by_label("State").select_option("failed")
    expect(cards).to_have_count(1)
    cards.get_by_role("link").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("a film")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["page", "index"])
def test_axe_finds_no_serious_fault(chromium, written, name, scheme):
    """And nothing is wider than a phone, where the smaller screen shows most."""
    page = chromium.new_page(color_scheme=scheme, viewport=PHONE)
    page.goto(getattr(written, name))
    page.wait_for_selector(".badge")
    # The policy of the page lets in no script of others.
    cdp = page.context.new_cdp_session(page)
    cdp.send("Page.setBypassCSP", {"enabled": True})
    page.reload()
    page.wait_for_selector(".badge")
    page.add_script_tag(path=node_modules() / "axe-core" / "axe.min.js")
    found = page.evaluate("axe.run()")["violations"]
    faults = [(fault["id"], fault["impact"], [node["html"][:200] for node in fault["nodes"]]) for fault in found]
    assert [fault for fault in faults if fault[1] in ("serious", "critical")] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    page.close()


def test_the_keyboard_alone_plays_and_reaches_every_control(page, written):
    page.goto(written.page)
    wait_for_picture(page, 320)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate("document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent")
        )
    assert {"Seek", "Play", "Mute", "Full screen", "0:03"} <= reached
