"""Every kind of source cut short, or with bytes that are wrong: the right output of what can be read, or an error that says why.

Never half an output, and never without end.
"""

from __future__ import annotations

import random
from contextlib import suppress
from pathlib import Path

import pytest
from readings import encoded_time_s, pictures

from mps_dagster.errors import OutputRejected, SourceFileError

CLIPS = [
    ("unequal", 2, 4),
    ("unequal_tracks",),
    ("late_picture", "mp4"),
    ("late_picture", "mkv"),
    ("late_picture", "ts"),
    ("jittered",),
    ("changing_picture", "640x360"),
    ("changing_picture", "320x240", "mkv"),
    ("changing_sound", "-ar 44100", "-ar 48000"),
    ("headless",),
    ("milliseconds",),
    ("rotated", 90),
    ("languages",),
]
OUTPUTS = [
    ("transcode", {"name": "mp4", "video_template": {"height": 90, "effort": "fast"}}),
    ("transcode", {"name": "hls", "container": "hls", "video_template": {"height": 90, "effort": "fast", "hls_time": 2}}),
    ("transcode", {"name": "mp3", "container": "mp3"}),
    ("image_sprite", {"name": "sprite", "sample_interval": 1}),
    ("animated_graphics", {"name": "gif", "height": 90}),
    ("quality_inspection", {"name": "checked"}),
]  # fmt: skip


def cut(content: bytes, share: float) -> bytes:
    return content[: int(len(content) * share)]


def flipped(content: bytes) -> bytes:
    """50 bytes are others, the same ones each time."""
    chance, changed = random.Random(len(content)), bytearray(content)
    for _ in range(50):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


@pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: "-".join(map(str, clip)))
@pytest.mark.parametrize("damage", ["30 %", "90 %", "flipped"])
def test_a_damaged_source_gives_whole_outputs_or_a_reason(clips, upload, made, worker, tmp_path, clip, damage):
    """The codes are those of a bad source, or of an output that did not become what was planned."""
    whole = getattr(clips, clip[0])(*clip[1:])
    content = whole.read_bytes()
    damaged = tmp_path / whole.name
    damaged.write_bytes(flipped(content) if damage == "flipped" else cut(content, float(damage.split()[0]) / 100))
    try:
        source = upload(damaged)
    except SourceFileError:
        return
    for kind, spec in OUTPUTS:
        before = published(worker)
        # Any other error is none that may come of a bad source.
        with suppress(SourceFileError, OutputRejected):
            made(source, kind, spec)
            before = published(worker)
        assert published(worker) == before
    video = next((path for path in published(worker) if path.suffix == ".mp4"), None)
    if video and damage != "flipped" and clip[0] in ("changing_picture", "changing_sound", "late_picture"):
        shown = list(pictures(video))
        assert [encoded_time_s(picture) for _, picture in shown[:-3:10]] == pytest.approx(
            [at for at, _ in shown[:-3:10]], abs=0.2
        )


def published(worker) -> set[Path]:
    folder = worker.settings.buckets_dir / "outputs" / "out"
    return {path for path in folder.rglob("*") if path.is_file()} if folder.exists() else set()
