"""A test video that moves, plays a tune and shows a clock, so that the time of a picture can be read."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import ffmpeg

from mps_dagster.ffmpeg.program import Ffmpeg
from mps_dagster.media.fonts import LATIN

# A note every half second, up and down a scale: it is easy to hear whether sound and picture are in sync.
_TUNE = "0.35*sin(2*PI*220*pow(2\\,(2*abs(mod(floor(2*t)\\,14)-7))/12)*t)*exp(-4*mod(t\\,0.5))"
_CLOCK = "%{pts:hms}"


def make_demo_source(tool: Ffmpeg, path: Path, *, seconds: int = 20, width: int = 1280, height: int = 720) -> None:
    """Write an MP4 (H.264, AAC) of the given length and size."""
    size = f"{width}x{height}"
    colors = "c0=0x1d2b53:c1=0x7e2553:c2=0x008751:c3=0xab5236"
    picture = ffmpeg.input(f"gradients=s={size}:r=25:d={seconds}:speed=0.02:n=4:seed=7:{colors}", f="lavfi")
    life = ffmpeg.input(
        f"life=s={width // 8}x{height // 8}:r=25:mold=12:ratio=0.12:seed=3"
        ":life_color=0xfff1e8:death_color=0x29adff:mold_color=0x000000",
        f="lavfi",
        t=seconds,
    )
    cells = (
        life.filter("scale", width, height, flags="neighbor")
        .filter("format", "rgba")
        .filter("colorchannelmixer", aa=0.35)
    )
    text = {
        "fontfile": str(resources.files(LATIN.package).joinpath(LATIN.file)),
        "fontcolor": "white",
        "box": 1,
        "boxcolor": "black@0.5",
        "boxborderw": height // 40,
    }
    picture = ffmpeg.overlay(picture, cells, shortest=1)
    picture = picture.drawtext(text=_CLOCK, escape_text=False, fontsize=height // 6, x="(w-tw)/2", y="(h-th)/2", **text)
    sound = ffmpeg.input(f"aevalsrc={_TUNE}:s=48000:d={seconds}", f="lavfi")
    output = ffmpeg.output(
        picture, sound, f"file:{path}", f="mp4", movflags="+faststart", pix_fmt="yuv420p", g=50,
        **{"c:v": "libx264", "preset": "veryfast", "crf": 20, "c:a": "aac", "b:a": "128k", "ac": 2},
    )  # fmt: skip
    tool.run(tuple(ffmpeg.get_args(output)), cwd=path.parent, on_progress=lambda _: None)
