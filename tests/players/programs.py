"""The browser and the npm packages that judge a stream, brought onto this machine if they are missing."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
BROWSERS = (
    # The program itself, which can be ended; Debian's script would leave it behind.
    "/usr/lib/chromium/chromium-headless-shell",
    "chromium", "google-chrome", "google-chrome-stable", "chromium-browser", "chrome",
)  # fmt: skip
PACKAGE = "chromium-headless-shell"
"""Debian's smallest: no windows, and two thirds of the libraries."""
ASKS = "<script>document.write(MediaSource.isTypeSupported('video/mp4; codecs=\"avc1.42C00B,mp4a.40.2\"'))</script>"
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--mute-audio",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
    "--autoplay-policy=no-user-gesture-required", "--disable-background-timer-throttling",
)  # fmt: skip


class Missing(Exception):
    """A program is not here and cannot be had; the text says which, and what to do."""


@functools.cache
def why_not() -> str:
    """What is missing to play a stream; empty if nothing is."""
    try:
        node_modules()
        browser()
    except Missing as missing:
        return str(missing)
    return ""


@functools.cache
def browser() -> str:
    """A Chromium that decodes H.264 and AAC. Root installs Debian's; nobody else can get one from a registry."""
    found = _on_path() or _installed()
    with tempfile.TemporaryDirectory() as profile:
        page = Path(profile, "ask.html")
        page.write_text(ASKS)
        argv = [found, *FLAGS, f"--user-data-dir={profile}", "--dump-dom", page.as_uri()]
        answer = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False).stdout
    if "true</body>" not in answer:
        raise Missing(f"{found} decodes no H.264 and AAC: install Debian's chromium, or Google Chrome")
    return found


def _on_path() -> str | None:
    return os.environ.get("MPS_TEST_CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)


def _installed() -> str:
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Missing(f"no browser: none of {', '.join(BROWSERS)} is here; install Debian's {PACKAGE}")
    wait = ("-o", "DPkg::Lock::Timeout=120", "-q", "-y")
    _run(["apt-get", *wait, "update"])
    _run(["apt-get", *wait, "install", "--no-install-recommends", PACKAGE])
    return _on_path() or PACKAGE


@functools.cache
def node_modules() -> Path:
    """The packages of package-lock.json, installed once for a user and kept outside the project, which clones share."""
    npm = shutil.which("npm")
    if not npm:
        raise Missing("no npm: install Node.js 20 or newer")
    lock = HERE / "package-lock.json"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mps_dagster"
    kept = cache / f"players-{hashlib.sha256(lock.read_bytes()).hexdigest()[:16]}"
    if not kept.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as making:
            for name in ("package.json", lock.name):
                shutil.copy(HERE / name, making)
            _run([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", making])
            _keep(Path(making), kept)
    return kept / "node_modules"


def _keep(made: Path, kept: Path) -> None:
    """Another process may have been quicker; its folder is as good."""
    try:
        made.rename(kept)
    except OSError:
        if not kept.exists():
            raise
        return
    # The context that made the folder removes it at its end, and must find one.
    made.mkdir()


def node(script: str, *arguments: str) -> Any:
    """What one of our scripts prints, which is JSON."""
    program = shutil.which("node")
    if not program:
        raise Missing("no node: install Node.js 20 or newer")
    # A script finds packages beside itself only.
    beside = node_modules().parent / script
    shutil.copy(HERE / script, beside)
    return json.loads(_run([program, str(beside), *arguments]))


def _run(argv: Sequence[str]) -> str:
    process = subprocess.run(argv, capture_output=True, text=True, timeout=600, check=False)
    if process.returncode:
        raise Missing(f"{' '.join(argv[:4])} failed: {(process.stderr or process.stdout)[-600:]}")
    return process.stdout
