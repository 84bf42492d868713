"""What is changed in the packager's MPD (ISO/IEC 23009-1): names, frame rates, and the thumbnails (DASH-IF IOP 6.2.6)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from xml.etree import ElementTree as ET

from mps_dagster.streaming.packaging import Packaging, Thumbnails, Track
from mps_dagster.streaming.segments import Segments, header_key

NAMESPACE = "urn:mpeg:dash:schema:mpd:2011"
TILES = "http://dashif.org/guidelines/thumbnail_tile"
_MARK = "0NUMBER0"
"""Stands for `{number}` while a name is escaped as a URI."""


def manifest(text: str, packaging: Packaging, published: Callable[[str], str]) -> str:
    """The MPD with published names, labels and thumbnails; `published` gives a key's name relative to the MPD."""
    ET.register_namespace("", NAMESPACE)
    # Our own packager's text.
    root = ET.fromstring(text)  # noqa: S314
    tracks = {track.number: track for track in packaging.tracks}
    _name_rates(root, packaging)
    for element in root.iter(_tag("AdaptationSet")):
        _label(element, tracks)
    for element in root.iter(_tag("BaseURL")):
        element.text = published(_track(element.text or "", tracks).segments.key(0))
    for element in root.iter(_tag("SegmentTemplate")):
        _name_segments(element, _track(element.attrib["media"], tracks), published)
    period = root.find(_tag("Period"))
    assert period is not None  # noqa: S101  (the packager writes one)
    period.extend(_subtitles(track, published) for track in packaging.of_kind("text"))
    if packaging.thumbnails:
        period.append(_thumbnails(packaging.thumbnails, published))
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _tag(name: str) -> str:
    return f"{{{NAMESPACE}}}{name}"


def _track(file: str, tracks: Mapping[str, Track]) -> Track:
    """By a file's name in the work folder: `s2.mp4`, `s2_$Number%05d$.m4s`."""
    return tracks[re.split(r"[_.]", file)[0]]


def _name_rates(root: ET.Element, packaging: Packaging) -> None:
    """The rate of all pictures; the packager takes that of the first two, whose times may be rounded."""
    shown = packaging.largest.rendition
    if shown is None:
        return
    rate = str(Fraction(shown.frame_rate).limit_denominator(1001))
    for element in root.iter():
        element.attrib |= {name: rate for name in ("frameRate", "maxFrameRate") if name in element.attrib}


def _label(element: ET.Element, tracks: Mapping[str, Track]) -> None:
    """What menus show for sound and subtitles."""
    files = [base.text or "" for base in element.iter(_tag("BaseURL"))]
    files += [template.attrib["media"] for template in element.iter(_tag("SegmentTemplate"))]
    track = _track(files[0], tracks)
    if track.kind != "video" and track.name:
        label = ET.Element(_tag("Label"))
        label.text = track.name
        element.insert(0, label)


def _name_segments(element: ET.Element, track: Track, published: Callable[[str], str]) -> None:
    element.set("media", _numbered(track.segments, published))
    element.set("startNumber", str(track.segments.first))
    if "initialization" in element.attrib:
        header = published(header_key(track.playlist_key))
        element.set("initialization", header.replace("$", "$$"))


def _numbered(names: Segments, published: Callable[[str], str]) -> str:
    """The names of numbered files, with DASH's `$Number$`."""
    number = f"$Number%0{names.width}d$" if names.width > 1 else "$Number$"
    before, _, after = names.key_pattern.partition("{number}")
    # Only what is in a URI is escaped, and `$` of a name is written twice.
    text = published(f"{before}{_MARK}{after}").replace("$", "$$")
    return text.replace(_MARK, number)


def _subtitles(track: Track, published: Callable[[str], str]) -> ET.Element:
    group = ET.Element(_tag("AdaptationSet"), contentType="text", mimeType="text/vtt")
    if track.language:
        group.set("lang", track.language)
    ET.SubElement(group, _tag("Label")).text = track.name
    ET.SubElement(group, _tag("Role"), schemeIdUri="urn:mpeg:dash:role:2011", value="subtitle")
    one = ET.SubElement(group, _tag("Representation"), id=track.number, bandwidth="256")
    ET.SubElement(one, _tag("BaseURL")).text = published(track.segments.key(0))
    return group


def _thumbnails(thumbnails: Thumbnails, published: Callable[[str], str]) -> ET.Element:
    group = ET.Element(_tag("AdaptationSet"), contentType="image", mimeType="image/jpeg")
    one = ET.SubElement(
        group, _tag("Representation"), id="thumbnails", bandwidth=str(thumbnails.bandwidth_bps),
        width=str(thumbnails.columns * thumbnails.width), height=str(thumbnails.rows * thumbnails.height),
    )  # fmt: skip
    layout = f"{thumbnails.columns}x{thumbnails.rows}"
    ET.SubElement(one, _tag("EssentialProperty"), schemeIdUri=TILES, value=layout)
    ET.SubElement(
        one, _tag("SegmentTemplate"), media=_numbered(thumbnails.sheets, published), timescale="1000",
        duration=str(round(thumbnails.sheet_s * 1000)), startNumber=str(thumbnails.sheets.first),
    )  # fmt: skip
    return group
