"""The pictures of the docs: what docs/screenshots.py takes. One more is a row more."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

Places = Mapping[str, str]
"""Parts of addresses: the servers `ui` and `api`; of the demo, the id of its `run`, and its TaskId (`task`)."""


@dataclass(frozen=True)
class Shot:
    """A picture of a page: `<name>.png`."""

    name: str
    address: str
    """With places in braces."""
    wait_for: str
    """A selector: the page is complete when this is visible."""
    size: tuple[int, int] = (1400, 1000)
    """Of the browser's window."""
    prepare: Callable[[Page], None] = lambda _: None
    """What a reader would click first."""


@dataclass(frozen=True)
class Recording(Shot):
    """A moving picture of a page while the demo runs: `<name>.webp`."""

    then: tuple[Callable[[Page], None], ...] = ()
    """What a reader does when the run has ended; a few seconds of each are shown."""


def only_steps(page: Page) -> None:
    """A run's steps over the whole window, without its log and the navigation."""
    page.locator('button:left-of(:text("Re-execute all"), 40)').first.click()
    page.get_by_text("Hide navigation").click()


def open_again(page: Page) -> None:
    """The player then offers what was made last, too."""
    page.reload()
    page.wait_for_selector("video")


def play(page: Page) -> None:
    page.evaluate("document.querySelector('video').play()")


def look_ahead(page: Page) -> None:
    """A small picture of a later time shows above the player's bar."""
    bar = page.locator(".shaka-seek-bar").bounding_box()
    page.mouse.move(bar["x"] + 0.7 * bar["width"], bar["y"] + bar["height"] / 2)


SHOTS = (
    Shot("page", "{api}/pages/task/{task}/", "video", (1200, 1800)),
    Shot("index", "{api}/pages/", "#sources a", (1200, 600)),
    Shot("asset", "{ui}/assets/demo/samples", "text=sampleSnapshot_10_0.jpg", (1400, 1150)),
    Shot("run", "{ui}/runs/{run}", "text=Succeeded (", (1400, 1040), only_steps),
    Shot("lineage", "{ui}/locations/mps_dagster/asset-groups/demo", "text=preview", (1500, 1520)),
)
RECORDINGS = (
    Recording("processing", "{api}/pages/task/{task}/", "progress", (1000, 1250), then=(open_again, play, look_ahead)),
    Recording("running", "{ui}/runs/{run}", "text=Executing (", (1200, 900), only_steps),
)
