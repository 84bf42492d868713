"""Takes docs/images on the demo: `make screenshots`. All of them, or those that are named: `python docs/screenshots.py asset`.

Starts `mps up` in a project of its own, on ports of its own, runs the demo's upload through it, and drives a headless Chromium that
is installed (root gets Debian's). The pictures are listed in docs/pictures.py.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from pictures import RECORDINGS, SHOTS, Places, Recording, Shot
from PIL import Image
from playwright.sync_api import Browser, Page, StorageState, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
sys.path[0] = str(ROOT / "tests")

from deployments import MPS, environment_of, start, with_ports  # noqa: E402
from players.programs import browser  # noqa: E402

from mps_dagster.control.task_run import task_id  # noqa: E402
from mps_dagster.settings import Settings  # noqa: E402
from mps_dagster.workflow.new_project import lay_out  # noqa: E402

SCALE = 0.75
"""Of what the browser shows; small enough for a page, and still legible."""
COLOURS = 256
QUALITY = 70
"""Of pictures in an animation that libwebp does not keep as they are."""
EVERY_S = 1
"""Between two pictures of a run."""
MOST_FRAMES = 50
"""Of a run."""
RUN_S = 10
"""How long a run is shown, however long it took; times in which nothing changed are left out."""
ACTION_S = 3
"""How long it is shown what a reader does."""
LAST_FRAME_S = 3
TIMEOUT_MS = 60_000
SETTLE_MS = 2000
"""A page needs it for its pictures, its animations, and what has just happened."""
AUTOPLAY = "--autoplay-policy=no-user-gesture-required"


class Frame(NamedTuple):
    picture: Image.Image
    seconds: float
    """How long it is shown."""


def main() -> None:
    chosen = sys.argv[1:] or [shot.name for shot in (*SHOTS, *RECORDINGS)]
    IMAGES.mkdir(exist_ok=True)
    with deployment() as settings, sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser(), args=["--no-sandbox", AUTOPLAY])
        visitor = Visitor(chromium, signed_in(chromium, settings))
        # Without a recording, there is one upload for the other pictures.
        for recording in [recording for recording in RECORDINGS if recording.name in chosen] or [None]:
            with demo(settings) as (places, ended):
                if recording:
                    record(visitor, recording, places, ended)
        for shot in SHOTS:
            if shot.name in chosen:
                take(visitor, shot, places)
        chromium.close()


@contextmanager
def deployment() -> Iterator[Settings]:
    """`mps up` in a new project with the demo's workflow, until the block ends."""
    with tempfile.TemporaryDirectory(prefix="mps-screenshots-") as folder:
        project = Path(folder, "media")
        lay_out(project)
        for name in ("workflows/demo.yaml", "templates/logo.png"):
            shutil.copyfile(ROOT / name, project / name)
        settings = with_ports(Settings(project=project, home=project / ".mps"))
        with start(settings) as up:
            yield settings
            up.terminate()
            up.wait(timeout=60)


@contextmanager
def demo(settings: Settings) -> Iterator[tuple[Places, Callable[[], bool]]]:
    """`mps demo`, from the launch of its run; the block ends after it. Yields its places, and whether it has ended."""
    with subprocess.Popen([MPS, "demo"], env=environment_of(settings), stdout=subprocess.PIPE, text=True) as process:
        said = process.stdout or ()
        run = next(match[1] for line in said if (match := re.search(r"launched run (\S+)", line)))
        places = {"ui": settings.ui_url, "api": settings.api_url, "run": run, "task": task_id(run)}
        yield places, lambda: process.poll() is not None
        if "outputs succeeded" not in "".join(said):
            raise SystemExit("the demo failed")


def signed_in(chromium: Browser, settings: Settings) -> StorageState:
    """The cookie of somebody who followed the link of `mps pages`."""
    link = subprocess.run(
        [MPS, "pages"], env=environment_of(settings), capture_output=True, text=True, check=True
    ).stdout
    page = chromium.new_page()
    page.goto(link.strip())
    state = page.context.storage_state()
    page.close()
    return state


@dataclass(frozen=True)
class Visitor:
    """Opens each page in a browser that has only its cookie."""

    chromium: Browser
    state: StorageState

    @contextmanager
    def at(self, shot: Shot, places: Places) -> Iterator[Page]:
        """The page when the picture may be taken."""
        width, height = shot.size
        page = self.chromium.new_page(
            viewport={"width": width, "height": height}, locale="en-GB", timezone_id="UTC", storage_state=self.state
        )
        page.set_default_timeout(TIMEOUT_MS)
        page.goto(shot.address.format(**places))
        page.wait_for_selector(shot.wait_for)
        shot.prepare(page)
        page.wait_for_timeout(SETTLE_MS)
        yield page
        page.close()


def take(visitor: Visitor, shot: Shot, places: Places) -> None:
    with visitor.at(shot, places) as page:
        picture = reduced(page.screenshot())
    # A page has few colours, and a palette takes a third of the bytes.
    path = IMAGES / f"{shot.name}.png"
    picture.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path.name}  {path.stat().st_size} bytes")


def record(visitor: Visitor, recording: Recording, places: Places, ended: Callable[[], bool]) -> None:
    """The page until the run has ended, in a hurry, and then what a reader does, as it is."""
    with visitor.at(recording, places) as page:
        running = watched(page, ended, every_s=EVERY_S)
        running = running[:: len(running) // MOST_FRAMES + 1]
        frames = [Frame(picture, RUN_S / len(running)) for picture in running]
        page.wait_for_timeout(SETTLE_MS)
        for action in recording.then:
            action(page)
            until = time.monotonic() + ACTION_S
            done = watched(page, lambda until=until: time.monotonic() > until)
            frames += [Frame(picture, ACTION_S / len(done)) for picture in done]
        frames.append(Frame(reduced(page.screenshot()), LAST_FRAME_S))
    animate(frames, IMAGES / f"{recording.name}.webp")


def watched(page: Page, ended: Callable[[], bool], *, every_s: float = 0.2) -> list[Image.Image]:
    """Pictures of the page, one after the other, of which no two are the same."""
    pictures = [reduced(page.screenshot())]
    while not ended():
        page.wait_for_timeout(1000 * every_s)
        picture = reduced(page.screenshot())
        if picture != pictures[-1]:
            pictures.append(picture)
    return pictures


def animate(frames: Sequence[Frame], path: Path) -> None:
    first, *others = [frame.picture for frame in frames]
    first.save(
        path, save_all=True, append_images=others, duration=[round(1000 * frame.seconds) for frame in frames], loop=0,
        allow_mixed=True, quality=QUALITY, method=4,
    )  # fmt: skip
    print(f"{path.name}  {path.stat().st_size} bytes, {len(frames)} frames")


def reduced(screenshot: bytes) -> Image.Image:
    with Image.open(BytesIO(screenshot)) as picture:
        size = round(picture.width * SCALE), round(picture.height * SCALE)
        return picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)


if __name__ == "__main__":
    main()
