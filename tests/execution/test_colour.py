"""Colours and transparency of outputs, read off their pixels."""

from __future__ import annotations

import subprocess
from pathlib import Path

import imageio_ffmpeg
import pytest
from clips import PATCHES
from PIL import Image

STILL = {"ext_time_offset_set": ["0s"]}
ONE_CELL = {"row_count": 1, "column_count": 1, "width": 320, "height": 180, "fill_type": "stretch"}
SMALL = {"video_template": {"width": 640, "vcrf": 6, "effort": "fast"}}
OUTPUTS = {
    "jpg": ("snapshot_by_time_offset", {**STILL, "format": "jpg"}),
    "png": ("snapshot_by_time_offset", {**STILL, "format": "png"}),
    "webp": ("snapshot_by_time_offset", {**STILL, "format": "webp"}),
    "sprite": ("image_sprite", {**ONE_CELL, "format": "jpg"}),
    "gif": ("animated_graphics", {"format": "gif", "width": 320}),
    "animated webp": ("animated_graphics", {"format": "webp", "width": 320}),
    "mp4": ("transcode", SMALL),
}
X264, X265 = "-c:v libx264 -qp 1", "-c:v libx265 -x265-params log-level=none:qp=1"


def tagged(tags: str) -> str:
    """A filter that only says it: matrix, primaries, transfer; one word is for all."""
    space, primaries, transfer = (tags.split() * 3)[:3]
    return f"setparams=colorspace={space}:color_primaries={primaries}:color_trc={transfer}"


def encoded(matrix: str, tags: str, *, format: str = "yuv444p", scale: str = "limited", encoder: str = X264) -> str:
    """Filters and encoder of a clip whose numbers are of one matrix and whose tags say `tags`."""
    numbers = f"scale=out_color_matrix={matrix}:out_range={scale}:flags=accurate_rnd,format={format}"
    return f"{numbers},{tagged(tags)} -- {encoder}"


def bits(matrix: int) -> str:
    """An encoder that writes a number of a matrix that cannot be right."""
    return f"{X264} -bsf:v h264_metadata=matrix_coefficients={matrix}:colour_primaries=1:transfer_characteristics=1"


TO_2020 = "setparams=color_primaries=bt709:color_trc=bt709,zscale=p=bt2020:t=bt709:m=2020_ncl:r=limited"
WIDE = "setparams=colorspace=bt2020nc:color_primaries=bt2020:color_trc=bt2020-10"
HD = "1280x180"
"""Wide enough to count as HD, and quick to encode."""
SOURCES = {
    "HD of BT.709": (HD, "709.mp4", encoded("bt709", "bt709")),
    "HD untagged": ("1280x720", "hd.mp4", encoded("bt709", "unknown")),
    "SD untagged": ("640x360", "sd.mp4", encoded("bt601", "unknown")),
    "wide for SD, so HD": ("1280x500", "cinema.mp4", encoded("bt709", "unknown")),
    "SD of BT.709": ("640x360", "sd709.mp4", encoded("bt709", "bt709")),
    "SD of BT.601": ("640x360", "sd601.mp4", encoded("bt601", "smpte170m")),
    "full range": (HD, "full.mp4", f"zscale=m=709:r=full,format=yuv444p,{tagged('bt709')} -- {X264}"),
    "10 bit": (HD, "ten.mp4", encoded("bt709", "bt709", format="yuv420p10le", encoder=X265)),
    "BT.2020 matrix": (HD, "2020m.mp4", encoded("bt2020nc", "bt2020nc bt709 bt709")),
    "BT.2020, wide colours": (HD, "2020.mp4", f"{TO_2020},format=yuv420p10le,{WIDE} -- {X265}"),
    "SMPTE 240M": (HD, "240.mp4", encoded("smpte240m", "smpte240m")),
    "YCgCo": (HD, "ycgco.mp4", f"zscale=m=ycgco:r=limited,format=yuv444p -- {X264}"),
    "film and logarithm": (HD, "film.mp4", encoded("bt709", "bt709 film log100")),
    "Y'CbCr tagged RGB": (HD, "gbr.mp4", encoded("bt709", "bt709", format="yuv420p", encoder=bits(0))),
    "a reserved matrix": (HD, "reserved.mp4", encoded("bt709", "bt709", encoder=bits(3))),
    "Motion JPEG": (HD, "jpeg.avi", encoded("bt601", "unknown", format="yuvj444p", scale="full",
                                            encoder="-c:v mjpeg -q:v 1")),
    "QuickTime Animation": ("640x360", "rle.mov", "format=rgb24 -- -c:v qtrle"),
    "RGB H.264": ("640x360", "rgb.mp4", "format=gbrp -- -c:v libx264rgb -qp 0"),
    "APNG": ("640x360", "plain.apng", "format=rgb24 -- -c:v apng"),
    "GIF": ("640x360", "plain.gif", "split[x][y];[x]palettegen[p];[y][p]paletteuse -- -f gif"),
}  # fmt: skip


def stored(worker, result) -> Path:
    return worker.settings.buckets_dir / result.bucket / result.main[0].key


def picture(path: Path, *, decoder: str = "") -> Image.Image:
    """The first picture as RGBA; of a video by ffmpeg, which believes its tags."""
    if path.suffix in (".jpg", ".png", ".webp", ".gif"):
        with Image.open(path) as image:
            return image.convert("RGBA")
    exact = "scale=flags=bicubic+accurate_rnd+full_chroma_int,format=rgba"
    chosen = ["-c:v", decoder] if decoder else []
    argv = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *chosen, "-i", str(path), "-vf", exact, "-frames:v", "1"]
    png = subprocess.run([*argv, "-f", "image2", "-c:v", "png", str(path.with_suffix(".look.png"))], check=False)
    assert png.returncode == 0
    return picture(path.with_suffix(".look.png"))


def quarters(image: Image.Image) -> list[tuple[int, ...]]:
    width, height = image.size
    return [image.getpixel((width * x // 4, height * y // 4)) for y in (1, 3) for x in (1, 3)]


def assert_close(found, wanted, within: int = 3) -> None:
    assert (
        max(abs(a - b) for one, other in zip(found, wanted, strict=True) for a, b in zip(one, other, strict=True))
        <= within
    ), found


@pytest.mark.parametrize("source", SOURCES)
def test_colours_are_the_source_s_in_every_format(clips, upload, made, worker, source):
    """Within 3 of 255, whatever the source's matrix, range and tags are."""
    size, name, how = SOURCES[source]
    media = upload(clips.patches(name, how, size=size))
    wanted = [(*bytes.fromhex(color), 255) for color in PATCHES]
    for name, (kind, spec) in OUTPUTS.items():
        result = made(media, kind, {"name": name.replace(" ", ""), **spec})[0]
        assert_close(quarters(picture(stored(worker, result))), wanted)


@pytest.mark.parametrize("transfer", ["smpte2084", "arib-std-b67"])
def test_hdr_is_made_the_same_sdr_in_every_format(clips, upload, made, worker, transfer):
    """Stills, sprites and animations as the SDR video, whose tags and facts are SDR's."""
    light = "setparams=color_primaries=bt709:color_trc=bt709,zscale=t=linear:npl=203,format=gbrpf32le"
    hdr = f"{light},zscale=p=bt2020:npl=203,zscale=t={transfer}:m=2020_ncl:r=limited:npl=203,format=yuv420p10le"
    tags = f"colorprim=bt2020:transfer={transfer}:colormatrix=bt2020nc:max-cll=1000,400"
    clip = clips.patches(f"{transfer}.mp4", f"{hdr} -- -c:v libx265 -x265-params log-level=none:qp=1:{tags}")
    media = upload(clip)
    results = [
        made(media, kind, {"name": str(number), **spec})[0] for number, (kind, spec) in enumerate(OUTPUTS.values())
    ]
    seen = [quarters(picture(stored(worker, result))) for result in results]
    for colours in seen[:-1]:
        assert_close(colours, seen[-1], within=4)
    video = results[-1].main[0].media.video
    assert (video.hdr, video.color_space, video.color_primaries, video.color_transfer) == ("", *["bt709"] * 3)
    assert b"clli" not in stored(worker, results[-1]).read_bytes()


@pytest.mark.parametrize(
    ("codec", "container"), [("h264", "flv"), ("h264", "ts"), ("h265", "mp4"), ("av1", "mp4"), ("vp9", "webm")]
)
@pytest.mark.parametrize(
    ("source", "space"), [("HD of BT.709", "bt709"), ("SD untagged", "smpte170m"), ("RGB H.264", "bt709")]
)
def test_a_video_s_tags_say_what_its_numbers_are(clips, upload, made, worker, codec, container, source, space):
    """A small version of an HD video stays BT.709, and says so."""
    size, name, how = SOURCES[source]
    template = {"codec": codec, "width": 320, "vcrf": 6, "effort": "fast"}
    spec = {"name": "v", "container": container, "video_template": template}
    result = made(upload(clips.patches(name, how, size=size)), "transcode", spec)[0]
    video = result.main[0].media.video
    assert (video.color_space, video.color_primaries, video.full_range) == (space, space, False)
    assert_close(quarters(picture(stored(worker, result))), [(*bytes.fromhex(color), 255) for color in PATCHES])


@pytest.mark.parametrize(("codec", "container"), [("h265", "mp4"), ("av1", "mp4"), ("vp9", "mp4"), ("h265", "mkv")])
def test_ten_bits_keep_hdr_and_what_it_says_of_itself(clips, upload, made, worker, codec, container):
    """Tags, and the facts about the screen it was made on."""
    spec = {"name": "v", "container": container, "video_template": {"codec": codec, "bit_depth": 10, "effort": "fast"}}
    result = made(upload(clips.hdr10()), "transcode", spec)[0]
    video = result.main[0].media.video
    assert (video.hdr, video.color_space, video.color_primaries) == ("HDR10", "bt2020nc", "bt2020")
    argv = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(stored(worker, result)), "-vf", "showinfo", "-f", "null", "-"]
    said = subprocess.run(argv, capture_output=True, text=True, check=False).stderr
    assert "MaxCLL=1000, MaxFALL=400" in said
    assert "g(0.2650,0.6900)" in said


@pytest.mark.parametrize(
    ("clip", "codec", "said"),
    [
        ("hdr10", "h265", ("HDR10", "bt2020nc", "bt2020", "smpte2084")),
        ("hlg", "h265", ("HLG", "bt2020nc", "bt2020", "arib-std-b67")),
        ("hdr10", "h264", ("", "bt709", "bt709", "bt709")),
    ],
)
def test_black_before_the_first_picture_changes_no_tags(clips, upload, made, clip, codec, said):
    """HLS begins with it where the sound is first, and encoders take their tags from the first picture."""
    template = {"codec": codec, "bit_depth": 10 if codec == "h265" else 8, "segment_type": 7, "effort": "fast"}
    source = upload(clips.late(getattr(clips, clip)()))
    spec = {"name": "x", "container": "hls", "video_template": template}
    video = made(source, "transcode", spec)[0].main[0].media.video
    assert (video.hdr, video.color_space, video.color_primaries, video.color_transfer) == said


@pytest.mark.parametrize(("clip", "white"), [("hdr10", 573), ("hlg", 721)])
def test_a_white_watermark_on_hdr_is_no_glare(clips, upload, made, worker, clip, white):
    """BT.2408: graphics white is 58 % of PQ and 75 % of HLG, not 10 000 nits."""
    Image.new("RGBA", (64, 36), (255, 255, 255, 255)).save(worker.settings.templates_dir / "white.png")
    mark = {"image_template": {"image_content": "white.png", "width": "20%", "height": "20%"}}
    template = {"codec": "h265", "bit_depth": 10, "vcrf": 4, "effort": "fast"}
    result = made(
        upload(getattr(clips, clip)()), "transcode", {"name": "v", "video_template": template, "watermark_set": [mark]}
    )[0]
    argv = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(stored(worker, result)), "-frames:v", "1"]
    luma = subprocess.run(
        [*argv, "-pix_fmt", "yuv420p10le", "-f", "rawvideo", "-"], capture_output=True, check=True
    ).stdout
    at = (20 * 320 + 30) * 2
    assert int.from_bytes(luma[at : at + 2], "little") == pytest.approx(white, abs=6)


# ------------------------------------------------------------------------------------------------------- transparency

ALPHA = {
    "APNG": ("a.apng", "null -- -c:v apng"),
    "ProRes 4444": ("pro.mov", "scale=out_color_matrix=bt601,format=yuva444p10le -- -c:v prores_ks -profile:v 4444"),
    "QuickTime Animation": ("rle_alpha.mov", "format=argb -- -c:v qtrle"),
    "PNG in QuickTime": ("png.mov", "null -- -c:v png"),
    "animated WebP": ("a.webp", "format=bgra -- -c:v libwebp_anim -lossless 1"),
    "VP8": ("vp8.webm", "format=yuva420p -- -c:v libvpx -auto-alt-ref 0 -b:v 4M -qmax 4"),
    "VP9": ("vp9.webm", "format=yuva420p -- -c:v libvpx-vp9 -crf 4 -b:v 0 -cpu-used 8"),
    "VP9 in Matroska": ("vp9.mkv", "format=yuva420p -- -c:v libvpx-vp9 -crf 4 -b:v 0 -cpu-used 8"),
}
PALETTE = "split[x][y];[x]palettegen[p];[y][p]paletteuse=alpha_threshold=64"
ONE_BIT = {
    "GIF": ("half.gif", f"{PALETTE} -- -f gif"),
    "a palette in PNG": ("palette.mov", f"{PALETTE} -- -c:v png -pix_fmt pal8"),
}
CLEAR, RED, BLUE, SOLID_BLUE = (0, 0, 0, 0), (192, 32, 32, 255), (32, 64, 192, 128), (32, 64, 192, 255)
BLACK, DARK_BLUE = (0, 0, 0, 255), (16, 32, 96, 255)


def seen_through(image: Image.Image) -> list[tuple[int, ...]]:
    """Left, upper right, lower right. What is wholly transparent has no colour."""
    width, height = image.size
    points = [(width // 4, height // 2), (width * 3 // 4, height // 4), (width * 3 // 4, height * 3 // 4)]
    return [CLEAR if pixel[3] == 0 else pixel for pixel in map(image.getpixel, points)]


@pytest.mark.parametrize("source", [*ALPHA, *ONE_BIT])
def test_transparency_is_kept_where_the_format_has_it(clips, upload, made, worker, source):
    """In GIF all or nothing; VP9 on request."""
    media = upload(clips.half_transparent(*(ALPHA | ONE_BIT)[source]))
    assert media.media.video.alpha
    vp9 = {"container": "webm", "video_template": {"codec": "vp9", "vcrf": 4, "alpha": 1, "effort": "fast"}}
    outputs = {
        name: made(media, kind, {"name": name.replace(" ", ""), **spec})[0]
        for name, (kind, spec) in {
            **OUTPUTS, "sprite": ("image_sprite", {**ONE_CELL, "format": "webp"}), "webm": ("transcode", vp9)
        }.items() if name not in ("jpg", "mp4")
    }  # fmt: skip
    lower = SOLID_BLUE if source in ONE_BIT else BLUE
    for name, result in outputs.items():
        image = picture(stored(worker, result), decoder="libvpx-vp9" if name == "webm" else "")
        assert_close(seen_through(image), [CLEAR, RED, SOLID_BLUE if name == "gif" else lower], within=5)
    assert outputs["webm"].main[0].media.video.alpha


@pytest.mark.parametrize("source", [*ALPHA, *ONE_BIT])
def test_elsewhere_what_is_behind_is_black(clips, upload, made, worker, source):
    """Never the colour that was hidden; bars and watermarks, too."""
    media = upload(clips.half_transparent(*(ALPHA | ONE_BIT)[source]))
    mark = {"watermark_set": [{"type": "text", "text_content": "."}], "vcrf": 4}
    vp9 = {"container": "webm", "video_template": {"codec": "vp9", "vcrf": 4, "effort": "fast"}}
    for name, (kind, spec) in {
        "jpg": OUTPUTS["jpg"], "mp4": OUTPUTS["mp4"], "mark": ("watermark", mark), "webm": ("transcode", vp9),
    }.items():  # fmt: skip
        result = made(media, kind, {"name": name, **spec})[0]
        lower = SOLID_BLUE if source in ONE_BIT else DARK_BLUE
        assert_close(seen_through(picture(stored(worker, result))), [BLACK, RED, lower], within=5)


def test_what_is_hidden_does_not_bleed_into_what_is_seen(clips, upload, made, worker):
    """At the edge, made smaller: no green."""
    media = upload(clips.half_transparent("odd.apng", "null -- -c:v apng", size="319x179"))
    for number, format in enumerate(("jpg", "png", "webp")):
        spec = {"name": str(number), **STILL, "format": format, "width": 61}
        image = picture(stored(worker, made(media, "snapshot_by_time_offset", spec)[0]))
        row = [image.getpixel((x, image.height // 4)) for x in range(image.width)]
        assert max(pixel[1] for pixel in row if pixel[3] > 8) < 60


def test_bars_beside_a_transparent_picture_are_what_was_asked_for(clips, upload, made, worker):
    """White, or the picture itself, blurred."""
    media = upload(clips.half_transparent("a.apng", "null -- -c:v apng"))
    square = {**STILL, "format": "png", "width": 200, "height": 200}
    white = picture(
        stored(worker, made(media, "snapshot_by_time_offset", {"name": "w", **square, "fill_type": "white"})[0])
    )
    assert (white.getpixel((50, 5)), white.getpixel((50, 100))[3]) == ((255, 255, 255, 255), 0)
    blur = picture(
        stored(worker, made(media, "snapshot_by_time_offset", {"name": "b", **square, "fill_type": "gauss"})[0])
    )
    assert blur.getpixel((10, 100))[3] < 10
    assert_close([blur.getpixel((150, 70))], [RED])


def test_a_gif_s_moving_hole_leaves_no_trail(clips, upload, made, worker):
    """Each picture replaces the one before it."""
    hole = "format=rgba,geq=r=200:g=30:b=30:a='255*not(between(X,30*N,30*N+30))' -- -c:v apng"
    media = upload(clips.patches("hole.apng", hole, size="320x180"))
    result = made(media, "animated_graphics", {"name": "g", "fps": 10})[0]
    with Image.open(stored(worker, result)) as image:
        image.seek(5)
        row = [image.convert("RGBA").getpixel((15 + 30 * number, 90))[3] for number in range(10)]
    assert row == [255] * 5 + [0] + [255] * 4
