"""Interlaced pictures: no combs in any output, and progressive ones untouched."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import imageio_ffmpeg
import pytest
from PIL import Image

LATE = {"snapshot_by_time_offset": {"format": "png", "ext_time_offset_set": ["2s"]},
        "sample_snapshot": {"format": "png", "sample_type": "Percent", "sample_interval": 60},
        "image_sprite": {"format": "png", "sample_type": "Percent", "sample_interval": 60, "row_count": 1,
                         "column_count": 2, "width": 320, "height": 176}}  # fmt: skip


def combs(image: Image.Image) -> float:
    """How much more a line differs from the next one than from the one after that; 0 to 255."""
    grey = image.convert("L")
    width, height = grey.size
    line = [grey.crop((0, y, width, y + 1)).tobytes() for y in range(height)]

    def differ(one: bytes, other: bytes) -> float:
        return sum(abs(a - b) for a, b in zip(one, other, strict=True)) / width

    rows = range(16, height - 16)
    return sum(differ(line[y], line[y + 1]) - differ(line[y], line[y + 2]) for y in rows) / len(rows)


def stored(worker, result, number: int = 0) -> Path:
    return worker.settings.buckets_dir / result.bucket / result.main[number].key


def frame(path: Path, number: int, folder: Path) -> Image.Image:
    argv = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-i", str(path), "-frames:v", "1"]
    subprocess.run([*argv, "-vf", f"select=eq(n\\,{number})", str(folder / "frame.png")], check=True)
    with Image.open(folder / "frame.png") as image:
        return image.convert("RGB")


@pytest.mark.parametrize(
    "clip",
    [
        pytest.param(lambda clips: clips.half_interlaced(), id="half of a broadcast"),
        pytest.param(lambda clips: clips.half_interlaced("mpeg2video"), id="half of an MPEG-2 broadcast"),
        pytest.param(lambda clips: clips.stripes("libx264_woven.ts", woven=True), id="all of it"),
    ],
)
def test_no_output_has_combs(clips, upload, made, worker, tmp_path, clip):
    """In the interlaced part, whatever comes first."""
    path = clip(clips)
    whole = path.name.startswith("half")
    assert combs(frame(path, 45 if whole else 20, tmp_path)) > 20
    media = upload(path)
    for kind, spec in LATE.items():
        spec = spec if whole or "offset" not in kind else {**spec, "ext_time_offset_set": ["1s"]}
        result = made(media, kind, {"name": kind, **spec})[0]
        with Image.open(stored(worker, result, -1)) as image:
            right = image.crop((image.width - 320, 0, image.width, 176))
            assert combs(right) < 8
    video = made(media, "transcode", {"name": "v", "video_template": {"vcrf": 10, "effort": "fast"}})[0]
    assert combs(frame(stored(worker, video), 45 if whole else 20, tmp_path)) < 8


def test_progressive_pictures_pass_as_they_are(clips, upload, made, worker):
    """A still is bit by bit what ffmpeg decodes."""
    media = upload(clips.stripes("libx264_plain.ts", woven=False))
    spec = {"name": "s", "format": "png", "ext_time_offset_set": ["0s"]}
    path = stored(worker, made(media, "snapshot_by_time_offset", spec)[0])
    source = clips.stripes("libx264_plain.ts", woven=False)
    exact = "setparams=colorspace=smpte170m,scale=flags=bicubic+accurate_rnd+full_chroma_int,format=gbrp,format=rgb24"
    argv = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(source), "-vf", exact, "-frames:v", "1"]
    wanted = subprocess.run([*argv, "-f", "rawvideo", "-"], capture_output=True, check=True).stdout
    with Image.open(path) as image:
        assert hashlib.md5(image.tobytes()).digest() == hashlib.md5(wanted).digest()
