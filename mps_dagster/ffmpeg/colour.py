"""Colours: which numbers a picture is made of, and how they become those of the format that is written.

Y'CbCr has a matrix (BT.601, BT.709, BT.2020) and a range; read by another one than they were written by, all colours
shift. So what a source does not declare is declared first, by the rule that players follow, and every output format names
what it takes. Stills and animations are RGB in between; transparency is there too, multiplied in (see `opened`).
"""

from __future__ import annotations

from typing import Any

from mps_dagster.errors import ContentUnsupported
from mps_dagster.ffmpeg.codecs import Picture
from mps_dagster.media.info import VideoStream

Stream = Any
"""A node of ffmpeg-python's graph; the library has no types."""

_MATRICES = frozenset({"bt709", "smpte170m", "bt470bg", "bt2020nc", "fcc", "smpte240m"})
"""Those that ffmpeg's scaler knows. It fails on every other one, and takes RGB's for a mistake in Y'CbCr."""
_WRITTEN = frozenset({"bt709", "smpte170m", "bt470bg", "bt2020nc"})
"""Those that every encoder and player knows."""
_PRIMARIES = frozenset(
    {"bt709", "bt470m", "bt470bg", "smpte170m", "smpte240m", "bt2020", "smpte431", "smpte432", "ebu3213"}
)
_WIDE = frozenset({"bt2020", "smpte431", "smpte432"})
"""BT.2020 and the two kinds of P3: shown as BT.709, they look washed out."""
_TRANSFERS = frozenset({
    "bt709", "bt470m", "bt470bg", "smpte170m", "smpte240m", "iec61966-2-1", "iec61966-2-4", "bt1361e",
    "bt2020-10", "bt2020-12", "smpte2084", "arib-std-b67",
})  # fmt: skip
"""Curves of screens. Linear and logarithmic ones are for work in progress; on a file for people they are a mistake."""
SCALER = "bicubic+accurate_rnd+full_chroma_int"
"""Without the other two each conversion takes one or two of 255 away; they cost a fifth more time."""
_RGB = ("rgb", "bgr", "gbr", "argb", "abgr", "0rgb", "0bgr", "pal8")
_HDR_FACTS = (
    "MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL", "DYNAMIC_HDR_PLUS", "AMBIENT_VIEWING_ENVIRONMENT",
)  # fmt: skip
"""What encoders would still write of the screen that an SDR picture was not made for."""
_SRGB = {"color_primaries": "bt709", "color_trc": "iec61966-2-1"}


def is_rgb(video: VideoStream) -> bool:
    return video.pixel_format.startswith(_RGB)


def has_alpha(video: VideoStream) -> bool:
    """Whether its transparency can be kept; HDR's is not, the way to SDR has no room for it."""
    return video.alpha and not _is_beyond_sdr(video)


def matrix(video: VideoStream) -> str:
    """The source's, or what players take it for."""
    if is_rgb(video):
        return "gbr"
    if video.color_space in _MATRICES:
        return video.color_space
    if video.hdr or video.color_space == "bt2020c":
        return "bt2020nc"
    # mpv's rule; what is larger than the television of old is HD.
    return "bt709" if video.width >= 1280 or video.height > 576 else "smpte170m"


def primaries(video: VideoStream) -> str:
    if video.color_primaries in _PRIMARIES:
        return video.color_primaries
    return {"bt2020nc": "bt2020", "smpte170m": "smpte170m", "bt470bg": "bt470bg"}.get(matrix(video), "bt709")


def transfer(video: VideoStream) -> str:
    if video.color_transfer in _TRANSFERS:
        return video.color_transfer
    return "smpte170m" if matrix(video) == "smpte170m" else "bt709"


def written_matrix(video: VideoStream, *, sdr: bool) -> str:
    """Of the video that is made of it: the source's own, whatever the new size, so that nothing is lost."""
    kept = matrix(video) in _WRITTEN and not (sdr and _is_beyond_sdr(video))
    return matrix(video) if kept else "bt709"


def declared(stream: Stream, video: VideoStream) -> Stream:
    """Say what the source does not say, or says wrongly. Once it is scaled, players would guess something else."""
    if video.color_space == "ycgco" and not is_rgb(video):
        # The scaler does not know it, but it is no mistake: screen recorders write it.
        stream = stream.filter("zscale", m=matrix(video))
    tags = {
        "colorspace": (video.color_space or ("gbr" if is_rgb(video) else ""), matrix(video)),
        "color_primaries": (video.color_primaries, primaries(video)),
        "color_trc": (video.color_transfer, transfer(video)),
    }
    wrong = {name: right for name, (said, right) in tags.items() if said != right}
    return stream.filter("setparams", **wrong) if wrong else stream


def opened(stream: Stream, video: VideoStream, *, keep_alpha: bool = False) -> Stream:
    """Colours declared, and what is transparent made black: what is hidden there must not bleed into what is seen.

    With `keep_alpha` the transparency stays beside it (as "premultiplied" alpha), until `to_rgb`.
    """
    if video.only_dolby_vision:
        raise ContentUnsupported(
            f"the picture is Dolby Vision profile {video.dolby_vision_profile}, in colours that ffmpeg cannot convert",
            hint="export it as HDR10, HLG or SDR; its sound can be used, and an mp4 can have the video copied",
        )
    stream = declared(stream, video)
    if not video.alpha:
        return stream
    deep = "16le" if video.bit_depth > 8 else ""
    # A scaler of our own: ffmpeg would put its one in front of the declaration.
    stream = stream.filter("scale", flags=SCALER).filter("format", f"gbrap{deep}").filter("premultiply", inplace=1)
    if keep_alpha:
        return stream
    # Opaque from here on; a later overlay would undo the multiplication.
    return stream.filter("format", f"gbrp{deep}").filter("setparams", alpha_mode="unspecified")


def to_rgb(stream: Stream, video: VideoStream, *, keep_alpha: bool = False) -> Stream:
    """For stills and animations: SDR, RGB, transparency beside the colours if it is kept."""
    if keep_alpha:
        return stream.filter("format", "gbrap").filter("unpremultiply", inplace=1)
    stream = to_sdr(stream, video)
    return stream if _is_beyond_sdr(video) else stream.filter("format", "gbrp")


def to_sdr(stream: Stream, video: VideoStream) -> Stream:
    """HDR10, HLG and wide colours to BT.709, as RGB; without it the picture looks washed out on every SDR screen.

    Everything else passes unchanged: the curves of SDR video differ less than the screens that show it.
    """
    if not _is_beyond_sdr(video):
        return stream
    # 4:4:4 first: zscale refuses odd sides of subsampled pictures.
    stream = (
        stream.filter("format", "gbrp16le") if is_rgb(video) or video.alpha
        else stream.filter("format", pix_fmts="yuv444p10le", color_ranges="tv")
    )  # fmt: skip
    said = {"min": "gbr" if is_rgb(video) or video.alpha else matrix(video), "pin": primaries(video)}
    if not video.hdr:
        return stream.filter("zscale", **said, tin="bt709", p="bt709", t="bt709", m="gbr").filter("format", "gbrp")
    stream = stream.filter("zscale", **said, tin=video.color_transfer, t="linear", npl=100)
    stream = stream.filter("format", "gbrpf32le").filter("zscale", p="bt709")
    stream = stream.filter("tonemap", tonemap="hable", desat=0)
    stream = stream.filter("zscale", t="bt709", m="gbr").filter("format", "gbrp")
    for fact in _HDR_FACTS:
        stream = stream.filter("sidedata", mode="delete", type=fact)
    return stream


def like(image: Stream, video: VideoStream) -> Stream:
    """A graphic made for SDR in the colours of an HDR video, its white where BT.2408 puts it: at 203 nits."""
    if not _is_beyond_sdr(video):
        return image
    image = image.filter("format", "gbrap").filter("setparams", **_SRGB).filter("zscale", t="linear", npl=203)
    image = image.filter("format", "gbrapf32le").filter("zscale", p=primaries(video), npl=203)
    return image.filter("zscale", t=transfer(video), npl=203).filter("format", "gbrap16le")


def as_picture(stream: Stream, video: VideoStream, format: Picture) -> Stream:
    """RGB as a still format takes it."""
    if format.matrix:
        stream = stream.filter("scale", flags=SCALER)
        return stream.filter("format", pix_fmts=format.pixel_format, color_spaces=format.matrix, color_ranges="pc")
    stream = stream.filter("format", (has_alpha(video) and format.alpha_format) or format.pixel_format)
    # PNG says what it is; a viewer that believes "video" would show it darker than the JPEG.
    return stream.filter("setparams", **_SRGB)


def as_video(stream: Stream, pixel_format: str, space: str) -> Stream:
    """As a video encoder takes it; encoder and container tell players which numbers these are."""
    return stream.filter("format", pix_fmts=pixel_format, color_spaces=space, color_ranges="tv")


def tagged_as(stream: Stream, video: VideoStream, *, sdr: bool) -> Stream:
    """Pictures of ours that come before those of the video: an encoder takes its tags from the first one."""
    kept = not (sdr and _is_beyond_sdr(video))
    tags = (primaries(video), transfer(video)) if kept else ("bt709", "bt709")
    return stream.filter("setparams", color_primaries=tags[0], color_trc=tags[1])


def _is_beyond_sdr(video: VideoStream) -> bool:
    return bool(video.hdr) or primaries(video) in _WIDE
