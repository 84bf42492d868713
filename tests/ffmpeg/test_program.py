"""The limits of ffmpeg and of the probe, which is a separate process."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mps_dagster.errors import ContentMalformed, ToolFailed
from mps_dagster.ffmpeg.process import Limits
from mps_dagster.ffmpeg.program import Ffmpeg
from mps_dagster.media.info import MediaInfo, VideoStream
from mps_dagster.settings import Settings

pytestmark = pytest.mark.slow


def test_a_probe_that_takes_too_long_is_stopped(tmp_path):
    """The error names the limit."""
    path = tmp_path / "film.mp4"
    path.write_bytes(b"film")
    with pytest.raises(ContentMalformed, match="it ran longer than 0 s"):
        Ffmpeg.of(Settings(home=tmp_path)).probe(path, wall_s=0)


@pytest.mark.parametrize(
    ("duration_s", "frames", "hours"),
    [
        pytest.param(60, 1500, 6, id="a minute"),
        pytest.param(600, 15_000, 6, id="ten minutes"),
        pytest.param(7200, 180_000, 72, id="two hours: an encode of ten is no hang"),
        pytest.param(7200, 10_000_000, 72, id="no more for many frames a second"),
        pytest.param(86_400, 2, 6, id="two pictures that claim to last a day"),
        pytest.param(86_400, None, 864, id="a day of sound"),
    ],
)
def test_the_time_limit_is_in_proportion_to_the_work(duration_s, frames, hours):
    """A fixed one would end long work, or let a short hostile file run for days."""
    video = VideoStream(index=0, codec="h264", width=640, height=360, pixel_format="yuv420p", frames=frames or 0)
    media = MediaInfo(container="mov", size_bytes=1, duration_s=duration_s, video=video if frames else None)
    limits = Limits(wall_s=6 * 3600, stall_s=300, memory_bytes=1)
    assert Ffmpeg(Path("ffmpeg"), limits, max_pixels=1).time_limit_s(media) == hours * 3600


def script(path: Path, body: str) -> Ffmpeg:
    """A program in ffmpeg's place."""
    path.write_text(f"#!{sys.executable}\nimport sys\n{body}")
    path.chmod(0o755)
    return Ffmpeg(path, Limits(wall_s=30, stall_s=0.5, memory_bytes=2**31), max_pixels=1)


@pytest.mark.skipif(sys.platform != "linux", reason="what a child reads and writes is read from /proc")
def test_ffmpeg_that_repeats_its_progress_is_stuck(tmp_path):
    """Where it was is part of the error."""
    block = "out_time_us=2500000\\nframe=62\\nprogress=continue\\n"
    tool = script(tmp_path / "ffmpeg", f"while True: sys.stdout.write('{block}'); sys.stdout.flush()")
    with pytest.raises(ToolFailed, match=r"it was stuck: for 0\.5 s .* it was at 2\.5 s of its output, frame 62"):
        tool.run((), cwd=tmp_path, on_progress=lambda _: None)


@pytest.mark.skipif(sys.platform != "linux", reason="what a child reads and writes is read from /proc")
def test_ffmpeg_that_finishes_frames_is_not_stuck(tmp_path):
    """Slow is not stuck: here four times the limit, with CPU used all the time."""
    body = """
import time
start = time.monotonic()
for frame in range(20):
    while time.monotonic() < start + frame / 10: pass
    print(f"out_time_us={frame}\\nframe={frame}\\nprogress=continue", flush=True)
"""
    assert script(tmp_path / "ffmpeg", body).run((), cwd=tmp_path, on_progress=lambda _: None).returncode == 0
