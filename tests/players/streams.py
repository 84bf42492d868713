"""Streams that are as they should be, for tests of the judge itself: 10 s, three rungs, segments of 2 s, a key frame a second.

Each has a clock in its pictures, so no two pictures are alike.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clips import FFMPEG

from .hls import media_playlist
from .renditions import rates

SECONDS, RATE = 10, 25
RUNGS = {"low": ("128x72", "60k"), "middle": ("192x108", "120k"), "high": ("256x144", "200k")}
X264 = (
    "-c:v", "libx264", "-preset", "veryfast", "-profile:v", "main", "-bf", "2", "-pix_fmt", "yuv420p", "-g", "25",
    "-keyint_min", "25", "-sc_threshold", "0",
)  # fmt: skip
CUES = tuple(f"This is second {second}." for second in range(0, SECONDS, 2))
KEY_ID, KEY = "a7e61c373e219033c21091fa607bf3b8", "76a6c65c5ea762046bd749a2e632ccbb"


@dataclass(frozen=True)
class Made:
    """The parts of which all streams are packaged."""

    folder: Path
    rungs: tuple[Path, ...]
    sound: Path
    text: Path


def parts(folder: Path, *, last: Sequence[str] = X264) -> Made:
    """Encode once; `last` are the options of the highest rung, in which a fault may be."""
    rungs = tuple(_rung(folder, name, last if name == "high" else X264) for name in RUNGS)
    sound = folder / "sound.mp4"
    _run([FFMPEG, *_QUIET, "-f", "lavfi", "-i", f"sine=f=440:d={SECONDS}:r=48000", "-c:a", "aac", "-b:a", "64k", sound])
    text = folder / "text.vtt"
    times = [f"00:00:{at:02}.200 --> 00:00:{at + 1:02}.800" for at in range(0, SECONDS, 2)]
    blocks = ["WEBVTT", *("\n".join(pair) for pair in zip(times, CUES, strict=True))]
    text.write_text("\n\n".join(blocks) + "\n")
    return Made(folder, rungs, sound, text)


def _rung(folder: Path, name: str, codec: Sequence[str]) -> Path:
    size, bits = RUNGS[name]
    limits = ("-b:v", bits, "-maxrate", bits, "-bufsize", bits)
    path = folder / f"{name}.mp4"
    _run([FFMPEG, *_QUIET, "-f", "lavfi", "-i", f"testsrc2=s={size}:r={RATE}:d={SECONDS}", *codec, *limits, path])
    return path


def transport_streams(made: Made, folder: Path, *, encrypted: bool = False, options: Sequence[str] = ()) -> Path:
    """HLS with audio and video in each segment; with AES-128 if `encrypted`. `options` are ffmpeg's, for a fault."""
    folder.mkdir()
    argv = [FFMPEG, *_QUIET]
    for rung in made.rungs:
        argv += ["-i", rung]
    argv += ["-i", made.sound]
    for at in range(len(RUNGS)):
        argv += ["-map", f"{at}:v", "-map", f"{len(RUNGS)}:a"]
    streams = " ".join(f"v:{at},a:{at},name:{name}" for at, name in enumerate(RUNGS))
    argv += [
        "-c",
        "copy",
        "-f",
        "hls",
        "-hls_time",
        "2",
        "-hls_playlist_type",
        "vod",
        "-hls_flags",
        "independent_segments",
    ]
    argv += [
        "-var_stream_map",
        streams,
        "-master_pl_name",
        "ffmpegs.m3u8",
        "-hls_segment_filename",
        folder / "%v_%d.ts",
    ]
    if encrypted:
        argv += ["-hls_key_info_file", _key(folder)]
    _run([*argv, *options, folder / "%v.m3u8"])
    _master(folder)
    return folder


def _key(folder: Path) -> Path:
    (folder / "stream.key").write_bytes(os.urandom(16))
    information = folder / "key.info"
    information.write_text(f"stream.key\n{folder / 'stream.key'}\n{os.urandom(16).hex()}\n")
    return information


def _master(folder: Path) -> None:
    """ffmpeg declares what the encoder was asked for; a master must declare what is there."""
    lines = (folder / "ffmpegs.m3u8").read_text().splitlines()
    for at, name in enumerate(lines):
        if not name or name.startswith("#"):
            continue
        peak, average = map(round, rates(media_playlist(folder / name, "video")))
        tag = re.sub(r"\b(AVERAGE-)?BANDWIDTH=\d+,?", "", lines[at - 1]).rstrip(",")
        head, _, rest = tag.partition(":")
        numbers = f"BANDWIDTH={peak},AVERAGE-BANDWIDTH={average},FRAME-RATE={RATE}.000,CLOSED-CAPTIONS=NONE"
        lines[at - 1] = f"{head}:{numbers},{rest}"
    (folder / "master.m3u8").write_text("\n".join(lines) + "\n")
    (folder / "ffmpegs.m3u8").unlink()


def segments(packager: str, made: Made, folder: Path) -> Path:
    """HLS and DASH of one set of CMAF segments, with an audio group, subtitles, I-frame playlists and thumbnails."""
    folder.mkdir()
    for name in ("text", "sound", *RUNGS):
        (folder / name).mkdir()
    streams = [
        f"{_segmented(rung, 'video', rung.stem)},iframe_playlist_name={rung.stem}_pictures.m3u8" for rung in made.rungs
    ]
    streams += [
        f"{_segmented(made.sound, 'audio', 'sound')},language=en,hls_group_id=sound,hls_name=English",
        f"in={made.text},stream=text,segment_template=text/$Number$.vtt,playlist_name=text.m3u8,{_TEXT},hls_only=1",
        f"{_segmented(made.text, 'text', 'text')},{_TEXT},dash_only=1",
    ]
    _packaged(packager, folder, streams)
    _thumbnails(made, folder)
    return folder


def _thumbnails(made: Made, folder: Path) -> None:
    """A tile a second, five in a sheet."""
    _run([FFMPEG, *_QUIET, "-i", made.rungs[0], "-vf", "fps=1,tile=5x1", folder / "tiles_%d.jpg"])
    width, height = RUNGS["low"][0].split("x")
    head = ["#EXTM3U", "#EXT-X-TARGETDURATION:5", "#EXT-X-VERSION:7", "#EXT-X-PLAYLIST-TYPE:VOD", "#EXT-X-IMAGES-ONLY"]
    sheets = [
        f"#EXTINF:5,\n#EXT-X-TILES:RESOLUTION={width}x{height},LAYOUT=5x1,DURATION=1\ntiles_{at}.jpg" for at in (1, 2)
    ]
    (folder / "tiles.m3u8").write_text("\n".join([*head, *sheets, "#EXT-X-ENDLIST"]) + "\n")
    with (folder / "master.m3u8").open("a") as master:
        master.write(
            f'#EXT-X-IMAGE-STREAM-INF:BANDWIDTH=9000,CODECS="jpeg",RESOLUTION={width}x{height},URI="tiles.m3u8"\n'
        )
    mpd = folder / "stream.mpd"
    mpd.write_text(mpd.read_text().replace("</Period>", _TILES.format(width=5 * int(width), height=height)))


def _segmented(source: Path, kind: str, name: str) -> str:
    return f"in={source},stream={kind},init_segment={name}/init.mp4,segment_template={name}/$Number$.m4s,playlist_name={name}.m3u8"


def single_files(packager: str, made: Made, folder: Path, *options: str) -> Path:
    """HLS by byte ranges and DASH on demand: one file for each rung."""
    folder.mkdir()
    streams = [f"in={rung},stream=video,output={rung.name},playlist_name={rung.stem}.m3u8" for rung in made.rungs]
    streams.append(
        f"in={made.sound},stream=audio,output=sound.mp4,playlist_name=sound.m3u8,language=en,hls_group_id=sound"
    )
    _packaged(packager, folder, [*streams, *options])
    return folder


def encrypted_files(packager: str, made: Made, folder: Path, key_id: str, key: str) -> Path:
    """Common encryption, with a key that a player is told."""
    keys = ("--enable_raw_key_encryption", "--keys", f"label=:key_id={key_id}:key={key}", "--clear_lead", "0")
    return single_files(packager, made, folder, *keys, "--protection_systems", "CommonSystem")


def sound_alone(packager: str, made: Made, folder: Path) -> Path:
    folder.mkdir()
    _packaged(packager, folder, [_segmented(made.sound, "audio", "sound")])
    return folder


def _packaged(packager: str, folder: Path, streams: Sequence[str]) -> None:
    lists = ("--mpd_output", "stream.mpd", "--hls_master_playlist_output", "master.m3u8")
    durations = ("--segment_duration", "2", "--fragment_duration", "2", "--default_language", "en")
    _run([packager, *streams, *lists, *durations, "--generate_static_live_mpd"], folder)


def _run(argv: Sequence[str | Path], folder: Path | None = None) -> None:
    process = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=folder)
    assert process.returncode == 0, f"{argv}\n{process.stderr}"


_QUIET = ("-hide_banner", "-nostdin", "-loglevel", "error", "-y")
_TILES = """
    <AdaptationSet id="9" contentType="image" mimeType="image/jpeg">
      <SegmentTemplate media="tiles_$Number$.jpg" duration="5" startNumber="1"/>
      <Representation id="tiles" bandwidth="9000" width="{width}" height="{height}">
        <EssentialProperty schemeIdUri="http://dashif.org/guidelines/thumbnail_tile" value="5x1"/>
      </Representation>
    </AdaptationSet>
  </Period>"""
_TEXT = "language=en,hls_group_id=text,hls_name=English"
