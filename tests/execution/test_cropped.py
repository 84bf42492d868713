"""A picture that its container crops is cropped, and not stretched, in every output."""

from __future__ import annotations

import subprocess

import imageio_ffmpeg
import pytest
from PIL import Image

from mps_dagster.errors import InvalidConfiguration

STILL = ("snapshot_by_time_offset", {"format": "png", "ext_time_offset_set": ["0s"]})
OUTPUTS = [
    STILL,
    ("sample_snapshot", {"format": "png"}),
    ("animated_graphics", {}),
    ("image_sprite", {"format": "png", "row_count": 1, "column_count": 1, "width": 0, "height": 0}),
    ("transcode", {"video_template": {"vcrf": 8, "effort": "fast"}}),
]


@pytest.mark.parametrize("extension", ["mp4", "mkv"])
@pytest.mark.parametrize(("turned", "size"), [(0, (200, 100)), (90, (100, 200))])
def test_every_output_is_cropped(clips, upload, run_task, worker, tmp_path, extension, turned, size):
    """Only the inside, in its own size, upright."""
    media = upload(clips.cropped(extension, turned=turned))
    assert media.media.video.display_size == size
    for kind, spec in OUTPUTS:
        result = run_task(media, kind, {"name": kind, **spec})[0]
        path = worker.settings.buckets_dir / result.bucket / result.main[0].key
        if kind == "transcode":
            argv = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(path), "-frames:v", "1"]
            path = tmp_path / "frame.png"
            subprocess.run([*argv, str(path)], check=True)
        with Image.open(path) as image:
            assert image.size == size
            picture = image.convert("RGB")
            corners = [picture.getpixel((x, y)) for x in (2, size[0] - 3) for y in (2, size[1] - 3)]
        assert all(blue > 200 > 60 > max(red, green) for red, green, blue in corners)


def test_cropping_by_the_codec_is_kept(clips, upload, run_task, worker):
    """H.264 stores 1080 lines as 1088."""
    media = upload(clips.patches("hd1080.mp4", "format=yuv420p -- -c:v libx264 -preset ultrafast", size="1920x1080"))
    result = run_task(media, STILL[0], {"name": "s", **STILL[1]})[0]
    assert media.media.video.display_size == (1920, 1080)
    assert (result.main[0].width, result.main[0].height) == (1920, 1080)


@pytest.mark.parametrize("offset", [0, 0.5])
@pytest.mark.parametrize("extension", ["mp4", "mkv"])
@pytest.mark.parametrize("clip", ["cropped", "stretched"])
def test_cropping_and_shape_in_a_header_are_copied_or_refused(clips, upload, run_task, clip, extension, offset):
    """In other containers the red would be visible, or a wide picture square. Also for a part, whose size is not verified."""
    media = upload(getattr(clips, clip)(extension))
    size = media.media.video.display_size
    copy = {"start_time_offset": offset, "video_template": {"codec": "copy"}}
    for container in ("mp4", "mkv"):
        output = run_task(media, "transcode", {"name": container, "container": container, **copy})[0].main[0]
        assert output.media.video.display_size == size
    for container in ("ts", "flv", "hls"):
        with pytest.raises(InvalidConfiguration, match=f"cropped or stretched by its header, which {container}"):
            run_task(media, "transcode", {"name": container, "container": container, **copy})


def test_a_shape_in_the_codec_is_copied_everywhere(clips, upload, run_task):
    """H.264 has it in its own header."""
    spec = {"name": "x", "container": "ts", "start_time_offset": 1, "video_template": {"codec": "copy"}}
    media = upload(clips.anamorphic())
    assert run_task(media, "transcode", spec)[0].main[0].media.video.display_size == media.media.video.display_size


def test_a_title_is_not_taken_for_cropping(clips, upload):
    video = upload(clips.titled("Frame Cropping: 80/40/30/50")).media.video
    assert (video.display_size, video.dolby_vision) == ((320, 180), "")
