"""Plays a folder of HLS or DASH in a browser, as a viewer would.

    played = play(folder, "master.m3u8", "hls.js")
    assert not played.problems

The page drives itself and posts its report, so the browser needs no driver.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import Empty
from typing import Any, Literal
from urllib.parse import quote

from mps_dagster.ffmpeg.process import _PR_SET_PDEATHSIG, _prctl

from .playback import Playback, playback
from .programs import FLAGS, browser, node_modules
from .site import Site, site

Player = Literal["hls.js", "shaka", "dash.js"]


def play(
    folder: Path,
    path: str,
    player: Player,
    *,
    keys: Mapping[str, str] | None = None,
    rate: float = 4,
    patience_s: float = 30,
    timeout_s: float = 120,
) -> Playback:
    """Load all of each level, switch, seek, look at thumbnails, then play from start to end at `rate` for each text track.

    `path` is the playlist's or MPD's, relative to `folder`; `keys` are ClearKey's, key by key id, in hex (shaka, dash.js). A
    step that does not get on for `patience_s` is a problem.
    """
    name = player.removesuffix(".js")
    order = {
        "player": name,
        "url": f"/media/{quote(path)}",
        "keys": dict(keys or {}),
        "rate": rate,
        "patience": patience_s,
        # Chrome has no parser for transport streams, where Debian's Chromium has one. MP4 with sound cannot be transmuxed.
        "transmux": any(folder.rglob("*.ts")),
    }
    with site(folder, node_modules()) as served, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        address = f"{served.address}/page/index.html?order={quote(json.dumps(order))}"
        log = Path(profile, "log.txt")
        with _running([browser(), *FLAGS, f"--user-data-dir={profile}", address], log) as process:
            report = _report(served, process, log, timeout_s)
        return playback(player, report, served.refused)


def play_all(folder: Path, cases: Sequence[tuple[str, Player]], **options: Any) -> list[Playback]:
    """Several at the same time: a player mostly waits."""
    with ThreadPoolExecutor(len(cases)) as pool:
        return list(pool.map(lambda case: play(folder, *case, **options), cases))


@contextmanager
def _running(argv: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        # A session of its own: its helpers end with it. It dies with the test, too.
        process = subprocess.Popen(
            argv,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=_prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),
        )
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _report(served: Site, process: subprocess.Popen[bytes], log: Path, timeout_s: float) -> dict[str, Any]:
    end = time.monotonic() + timeout_s
    while process.poll() is None and time.monotonic() < end:
        try:
            return served.reports.get(timeout=0.2)
        except Empty:
            continue
    what = (
        f"the browser ended with {process.poll()}" if process.poll() is not None else f"no report after {timeout_s} s"
    )
    raise AssertionError(f"{what}\n{log.read_text(errors='replace')[-2000:]}")
