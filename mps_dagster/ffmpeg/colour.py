"""Colour conversion from a source to an output's format.

Y'CbCr has a matrix (BT.601, BT.709, BT.2020) and a range; colours shift if a picture is read with other ones than it was
written with. So the first filter declares what a source does not, by the rule that players follow, and every output format
names its own. Stills and animations are processed as RGB, with premultiplied transparency (see `prepare_colours`).
"""

from __future__ import annotations

from typing import Any

from mps_dagster.errors import ContentUnsupported
from mps_dagster.ffmpeg.codecs import Picture
from mps_dagster.media.info import VideoStream

Stream = Any
"""A node of ffmpeg-python's graph; the library has no types."""

_MATRICES = frozenset({"bt709", "smpte170m", "bt470bg", "bt2020nc", "fcc", "smpte240m"})
"""The matrices that ffmpeg's scaler supports. It fails on others, and on RGB's in a Y'CbCr picture."""
_OUTPUT_MATRICES = frozenset({"bt709", "smpte170m", "bt470bg", "bt2020nc"})
"""Those that every encoder and player supports."""
_PRIMARIES = frozenset(
    {"bt709", "bt470m", "bt470bg", "smpte170m", "smpte240m", "bt2020", "smpte431", "smpte432", "ebu3213"}
)
_WIDE = frozenset({"bt2020", "smpte431", "smpte432"})
"""BT.2020 and the two kinds of P3: they look washed out if shown as BT.709."""
_TRANSFERS = frozenset({
    "bt709", "bt470m", "bt470bg", "smpte170m", "smpte240m", "iec61966-2-1", "iec61966-2-4", "bt1361e",
    "bt2020-10", "bt2020-12", "smpte2084", "arib-std-b67",
})  # fmt: skip
"""Curves for screens. Linear and logarithmic ones are for editing; on a finished file they are a mistake."""
SCALER = "bicubic+accurate_rnd+full_chroma_int"
"""Without the two flags, each conversion is off by 1 or 2 of 255. They take 20 % more time."""
_RGB = ("rgb", "bgr", "gbr", "argb", "abgr", "0rgb", "0bgr", "pal8")
_HDR_SIDE_DATA = (
    "MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL", "DYNAMIC_HDR_PLUS", "AMBIENT_VIEWING_ENVIRONMENT",
)  # fmt: skip
"""Removed after conversion to SDR, or encoders would write it into the output."""
_SRGB = {"color_primaries": "bt709", "color_trc": "iec61966-2-1"}


def is_rgb(video: VideoStream) -> bool:
    return video.pixel_format.startswith(_RGB)


def has_alpha(video: VideoStream) -> bool:
    """Whether its transparency can be kept; not with HDR, because the conversion to SDR drops it."""
    return video.alpha and not _is_beyond_sdr(video)


def matrix(video: VideoStream) -> str:
    """The source's matrix, or the one that players assume."""
    if is_rgb(video):
        return "gbr"
    if video.color_space in _MATRICES:
        return video.color_space
    if video.hdr or video.color_space == "bt2020c":
        return "bt2020nc"
    # mpv's rule: larger than standard-definition television is HD.
    return "bt709" if video.width >= 1280 or video.height > 576 else "smpte170m"


def primaries(video: VideoStream) -> str:
    if video.color_primaries in _PRIMARIES:
        return video.color_primaries
    return {"bt2020nc": "bt2020", "smpte170m": "smpte170m", "bt470bg": "bt470bg"}.get(matrix(video), "bt709")


def transfer(video: VideoStream) -> str:
    if video.color_transfer in _TRANSFERS:
        return video.color_transfer
    return "smpte170m" if matrix(video) == "smpte170m" else "bt709"


def output_matrix(video: VideoStream, *, sdr: bool) -> str:
    """The output's matrix: the source's where possible, at every size, so that nothing is lost."""
    keep = matrix(video) in _OUTPUT_MATRICES and not (sdr and _is_beyond_sdr(video))
    return matrix(video) if keep else "bt709"


def declare_colours(stream: Stream, video: VideoStream) -> Stream:
    """Set the colour tags that the source lacks or has wrong, because players guess them from the size, which may change."""
    if video.color_space == "ycgco" and not is_rgb(video):
        # The scaler does not support it, but screen recorders write it on purpose.
        stream = stream.filter("zscale", m=matrix(video))
    tags = {  # name: (the source's, the right one)
        "colorspace": (video.color_space or ("gbr" if is_rgb(video) else ""), matrix(video)),
        "color_primaries": (video.color_primaries, primaries(video)),
        "color_trc": (video.color_transfer, transfer(video)),
    }
    corrections = {name: right for name, (source, right) in tags.items() if source != right}
    return stream.filter("setparams", **corrections) if corrections else stream


def prepare_colours(stream: Stream, video: VideoStream, *, keep_alpha: bool = False) -> Stream:
    """Declare the colours and turn transparent pixels black, so that hidden colours do not bleed into visible ones.

    With `keep_alpha`, the picture keeps premultiplied alpha until `to_rgb`.
    """
    if video.only_dolby_vision:
        raise ContentUnsupported(
            f"the video is Dolby Vision profile {video.dolby_vision_profile}, whose colours ffmpeg cannot convert",
            hint="export it as HDR10, HLG or SDR; its audio can be used, and the video can be copied into mp4",
        )
    stream = declare_colours(stream, video)
    if not video.alpha:
        return stream
    deep = "16le" if video.bit_depth > 8 else ""
    # An explicit scaler: ffmpeg would insert its own before the colours are declared.
    stream = stream.filter("scale", flags=SCALER).filter("format", f"gbrap{deep}").filter("premultiply", inplace=1)
    if keep_alpha:
        return stream
    # Mark it opaque, or a later overlay would undo the premultiplication.
    return stream.filter("format", f"gbrp{deep}").filter("setparams", alpha_mode="unspecified")


def to_rgb(stream: Stream, video: VideoStream, *, keep_alpha: bool = False) -> Stream:
    """SDR in RGB, for stills and animations; with `keep_alpha`, straight alpha."""
    if keep_alpha:
        return stream.filter("format", "gbrap").filter("unpremultiply", inplace=1)
    stream = to_sdr(stream, video)
    return stream if _is_beyond_sdr(video) else stream.filter("format", "gbrp")


def to_sdr(stream: Stream, video: VideoStream) -> Stream:
    """HDR10, HLG and wide colours to BT.709 in RGB; otherwise they look washed out on SDR screens.

    Other video passes unchanged: the curves of SDR video differ less than SDR screens do.
    """
    if not _is_beyond_sdr(video):
        return stream
    # 4:4:4 first: zscale refuses subsampled pictures with odd sides.
    stream = (
        stream.filter("format", "gbrp16le") if is_rgb(video) or video.alpha
        else stream.filter("format", pix_fmts="yuv444p10le", color_ranges="tv")
    )  # fmt: skip
    source = {"min": "gbr" if is_rgb(video) or video.alpha else matrix(video), "pin": primaries(video)}
    if not video.hdr:
        return stream.filter("zscale", **source, tin="bt709", p="bt709", t="bt709", m="gbr").filter("format", "gbrp")
    stream = stream.filter("zscale", **source, tin=video.color_transfer, t="linear", npl=100)
    stream = stream.filter("format", "gbrpf32le").filter("zscale", p="bt709")
    stream = stream.filter("tonemap", tonemap="hable", desat=0)
    stream = stream.filter("zscale", t="bt709", m="gbr").filter("format", "gbrp")
    for name in _HDR_SIDE_DATA:
        stream = stream.filter("sidedata", mode="delete", type=name)
    return stream


def match_colours(image: Stream, video: VideoStream) -> Stream:
    """An SDR graphic in the colours of the video; in HDR, white is at BT.2408's 203 nits."""
    if not _is_beyond_sdr(video):
        return image
    image = image.filter("format", "gbrap").filter("setparams", **_SRGB).filter("zscale", t="linear", npl=203)
    image = image.filter("format", "gbrapf32le").filter("zscale", p=primaries(video), npl=203)
    return image.filter("zscale", t=transfer(video), npl=203).filter("format", "gbrap16le")


def to_picture_format(stream: Stream, video: VideoStream, format: Picture) -> Stream:
    """From RGB to what a still format's encoder takes."""
    if format.matrix:
        stream = stream.filter("scale", flags=SCALER)
        return stream.filter("format", pix_fmts=format.pixel_format, color_spaces=format.matrix, color_ranges="pc")
    stream = stream.filter("format", (has_alpha(video) and format.alpha_format) or format.pixel_format)
    # PNG stores its curve; with a video curve, viewers would show it darker than the JPEG.
    return stream.filter("setparams", **_SRGB)


def to_video_format(stream: Stream, pixel_format: str, space: str) -> Stream:
    """To what a video encoder takes; encoder and container pass the tags on to players."""
    return stream.filter("format", pix_fmts=pixel_format, color_spaces=space, color_ranges="tv")


def tag_like(stream: Stream, video: VideoStream, *, sdr: bool) -> Stream:
    """Tag generated pictures that precede the video's: an encoder takes its colour tags from the first picture."""
    keep = not (sdr and _is_beyond_sdr(video))
    tags = (primaries(video), transfer(video)) if keep else ("bt709", "bt709")
    return stream.filter("setparams", color_primaries=tags[0], color_trc=tags[1])


def _is_beyond_sdr(video: VideoStream) -> bool:
    return bool(video.hdr) or primaries(video) in _WIDE
