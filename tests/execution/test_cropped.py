"""A picture that its container crops is cropped in every output, and nowhere stretched."""

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
def test_every_output_has_what_is_left(clips, upload, made, worker, tmp_path, extension, turned, size):
    """Only the inside, in its own size, upright."""
    media = upload(clips.cropped(extension, turned=turned))
    assert media.media.video.display_size == size
    for kind, spec in OUTPUTS:
        result = made(media, kind, {"name": kind, **spec})[0]
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


def test_what_the_codec_crops_stays_cropped(clips, upload, made, worker):
    """H.264 stores 1080 lines as 1088."""
    media = upload(clips.patches("hd1080.mp4", "format=yuv420p -- -c:v libx264 -preset ultrafast", size="1920x1080"))
    result = made(media, STILL[0], {"name": "s", **STILL[1]})[0]
    assert media.media.video.display_size == (1920, 1080)
    assert (result.main[0].width, result.main[0].height) == (1920, 1080)


@pytest.mark.parametrize("offset", [0, 0.5])
@pytest.mark.parametrize("extension", ["mp4", "mkv"])
@pytest.mark.parametrize("clip", ["cropped", "stretched"])
def test_what_only_a_header_says_is_copied_where_there_is_one(clips, upload, made, clip, extension, offset):
    """Elsewhere the red would be seen, or a wide picture be square: of a part, too, whose size is not checked later."""
    media = upload(getattr(clips, clip)(extension))
    size = media.media.video.display_size
    copy = {"start_time_offset": offset, "video_template": {"codec": "copy"}}
    for container in ("mp4", "mkv"):
        output = made(media, "transcode", {"name": container, "container": container, **copy})[0].main[0]
        assert output.media.video.display_size == size
    for container in ("ts", "flv", "hls"):
        with pytest.raises(InvalidConfiguration, match=f"cropped or stretched by its header, which {container}"):
            made(media, "transcode", {"name": container, "container": container, **copy})


def test_a_shape_that_the_codec_says_is_copied_everywhere(clips, upload, made):
    """H.264 says it in its own header."""
    spec = {"name": "x", "container": "ts", "start_time_offset": 1, "video_template": {"codec": "copy"}}
    media = upload(clips.anamorphic())
    assert made(media, "transcode", spec)[0].main[0].media.video.display_size == media.media.video.display_size


def test_a_tag_is_no_fact(clips, upload):
    """Whoever calls his film like that does not crop it."""
    video = upload(clips.titled("Frame Cropping: 80/40/30/50")).media.video
    assert (video.display_size, video.dolby_vision) == ((320, 180), "")
