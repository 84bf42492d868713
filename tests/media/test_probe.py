"""The probe of every kind of clip, and of files that are not media."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from clips import Clips

from mps_dagster.errors import (
    ContentMalformed,
    ContentUnsupported,
    MpsError,
    NoVideoResolution,
    SourceFileError,
    SourceNotAccessible,
    ToolKilled,
)
from mps_dagster.media.info import MediaInfo, VideoStream
from mps_dagster.media.probe import parse_child, probe

Recipe = tuple[Any, ...]
"""A method of `Clips` and its arguments."""

MP4 = "mov,mp4,m4a,3gp,3g2,mj2"


def make_clip(clips: Clips, recipe: Recipe) -> Path:
    name, *args = recipe
    path = getattr(clips, name)(*args)
    assert isinstance(path, Path)
    return path


def video_of(clips: Clips, *recipe: Any) -> VideoStream:
    video = probe(make_clip(clips, recipe)).video
    assert video
    return video


def assert_facts(info: object, **expected: Any) -> None:
    """Compare only the named facts; times to the microsecond."""
    actual = {name: getattr(info, name) for name in expected}
    assert actual == {n: pytest.approx(v, abs=2e-6) if isinstance(v, float) else v for n, v in expected.items()}


PICTURES: dict[str, tuple[Recipe, dict[str, Any]]] = {
    "plain": (("video",), {"codec": "h264", "width": 320, "height": 180, "pixel_format": "yuv420p", "bit_depth": 8}),
    "container's name": (("video",), {"tag": "avc1"}),
    "container's number": (("transport_stream",), {"tag": ""}),
    "front camera": (("mirrored", "-display_hflip"), {"mirrored": True, "display_size": (320, 180)}),
    "front camera, upright": (
        ("mirrored", "-display_hflip", "-display_rotation", "-90"),
        {"mirrored": True, "display_size": (180, 320)},
    ),
    "not mirrored": (("rotated", 180), {"mirrored": False}),
    "presentation times": (("b_frames",), {"untimed": False}),
    "no presentation times of B-frames": (("b_frames_avi",), {"untimed": True}),
    "AVI without B-frames": (("mjpeg_avi",), {"untimed": False}),
    "cut by an edit list": (("edit_list",), {"hidden_s": 0.52}),
    "not cut": (("video",), {"hidden_s": 0.0}),
    "upright": (("video",), {"rotation": 0, "sample_aspect": Fraction(1), "display_size": (320, 180)}),
    "turned right": (("rotated", 90), {"rotation": 90, "width": 320, "height": 180, "display_size": (180, 320)}),
    "upside down": (("rotated", 180), {"rotation": 180, "display_size": (320, 180)}),
    "turned left": (("rotated", 270), {"rotation": 270, "display_size": (180, 320)}),
    "odd sides": (("odd_size",), {"width": 319, "height": 179, "pixel_format": "yuv444p"}),
    "wide pixels": (("anamorphic",), {"width": 180, "sample_aspect": Fraction(64, 45), "display_size": (256, 144)}),
    "interlaced": (("interlaced",), {"interlaced": True, "frame_rate": Fraction(25)}),
    "progressive": (("video",), {"interlaced": False}),
    "10 bit": (("ten_bit",), {"codec": "hevc", "profile": "Main 10", "bit_depth": 10, "hdr": ""}),
    "HDR10": (("hdr10",), {"hdr": "HDR10", "color_transfer": "smpte2084", "color_primaries": "bt2020"}),
    "HDR10's matrix": (("hdr10",), {"color_space": "bt2020nc", "full_range": False}),
    "HLG": (("hlg",), {"hdr": "HLG", "color_transfer": "arib-std-b67"}),
    "no colours declared": (("video",), {"color_primaries": "", "color_transfer": "", "color_space": ""}),
    "full range": (("mjpeg_avi",), {"codec": "mjpeg", "full_range": True, "pixel_format": "yuvj420p"}),
    "alpha in VP9": (("alpha",), {"codec": "vp9", "alpha": True}),
    "no alpha": (("vp8",), {"codec": "vp8", "alpha": False}),
    "VFW codec": (("msmpeg4_avi",), {"codec": "msmpeg4v2"}),
    "phone of 2005": (("three_gp",), {"codec": "h263", "width": 176, "height": 144}),
}


@pytest.mark.parametrize(("recipe", "expected"), PICTURES.values(), ids=PICTURES)
def test_reads_how_the_picture_is_stored(clips: Clips, recipe: Recipe, expected: dict[str, Any]) -> None:
    """Sizes, rotation, pixels and colours, from the headers or the first decoded picture."""
    assert_facts(video_of(clips, *recipe), **expected)


TIMES: dict[str, tuple[Recipe, dict[str, Any]]] = {
    "plain": (("video",), {"frames": 50, "frame_rate": 25, "start_s": 0.0, "last_s": 1.96, "duration_s": 2.0}),
    "a key frame a second": (("video",), {"longest_key_gap_s": 1.0, "variable_frame_rate": False}),
    "B-frames": (("b_frames",), {"frames": 50, "frame_rate": 25, "last_s": 1.96, "duration_s": 2.0}),
    "one frame": (("one_frame",), {"frames": 1, "frame_rate": None, "last_s": 0.0, "duration_s": 0.04}),
    "one key frame": (("long_gop",), {"frames": 100, "longest_key_gap_s": 4.0}),
    "variable": (("variable_rate",), {"variable_frame_rate": True, "frames": 67, "frame_rate": Fraction(50, 3)}),
    "rounded to 1 ms": (("milliseconds",), {"variable_frame_rate": False, "frame_rate": Fraction(24000, 1001)}),
    "clock at 100 s": (("late_start",), {"start_s": 0.021333, "last_s": 1.981333, "frames": 50, "frame_rate": 25}),
    "clock overflows": (("wrapped_clock",), {"start_s": 0.021333, "duration_s": 2.0, "frame_rate": 25}),
    "clock restarts": (("joined",), {"frames": 100, "duration_s": 4.0, "frame_rate": 25, "longest_key_gap_s": 1.0}),
    "hidden start": (("edit_list",), {"frames": 37, "start_s": 0.0, "last_s": 1.44, "duration_s": 1.48}),
    "shorter than the sound": (("short_video",), {"last_s": 0.96, "duration_s": 1.0}),
    "gap bomb": (("gap_bomb",), {"frames": 2, "last_s": 36000.0, "frame_rate": Fraction(1, 36000)}),
    "fragmented": (("fragmented",), {"frames": 50, "frame_rate": 25, "duration_s": 2.0}),
    "no duration": (("no_duration",), {"frames": 50, "frame_rate": 25, "duration_s": 2.0}),
    "no presentation times": (("msmpeg4_avi",), {"frames": 50, "frame_rate": 25, "duration_s": 2.0}),
    "program stream": (("mpeg2",), {"frames": 50, "frame_rate": 25, "duration_s": 2.0, "variable_frame_rate": False}),
    "GIF": (("animation", "gif"), {"frames": 10, "frame_rate": 10, "duration_s": 1.0, "last_s": 0.9}),
    "APNG": (("animation", "apng"), {"frames": 10, "frame_rate": 10, "duration_s": 1.0, "last_s": 0.9}),
    "WebP": (("animation", "webp"), {"frames": 10, "frame_rate": 10, "duration_s": 1.0, "last_s": 0.9}),
}


@pytest.mark.parametrize(("recipe", "expected"), TIMES.values(), ids=TIMES)
def test_measures_time_by_packets(clips: Clips, recipe: Recipe, expected: dict[str, Any]) -> None:
    """Whatever the headers say, and however the clock jumps."""
    assert_facts(video_of(clips, *recipe), **expected)


CONTAINERS: dict[str, tuple[Recipe, str, float]] = {
    "mp4": (("video",), MP4, 2.0),
    "mov": (("with_data",), MP4, 2.0),
    "3gp": (("three_gp",), MP4, 2.0),
    "mkv": (("languages",), "matroska,webm", 2.0),
    "webm": (("vp8",), "matroska,webm", 2.001),
    "ts": (("transport_stream",), "mpegts", 2.026667),
    "mpg": (("mpeg2",), "mpeg", 2.016),
    "avi": (("mjpeg_avi",), "avi", 2.0),
    "flv": (("flv",), "flv", 2.026),
    "wmv": (("wmv",), "asf", 2.043),
    "mxf": (("mxf",), "mxf", 2.0),
    "rm": (("real",), "rm", 2.016),
    "m4a": (("audio_only", "m4a"), MP4, 2.0),
    "mp3": (("audio_only", "mp3"), "mp3", 2.016979),
    "aac": (("audio_only", "aac"), "aac", 2.026667),
    "wav": (("audio_only", "wav"), "wav", 2.0),
    "flac": (("audio_only", "flac"), "flac", 2.0),
    "ogg": (("audio_only", "ogg"), "ogg", 2.0),
    "gif": (("animation", "gif"), "gif", 1.0),
    "apng": (("animation", "apng"), "apng", 1.0),
    "animated webp": (("animation", "webp"), "webp_anim", 1.0),
    "png": (("image", "png"), "png_pipe", 0.0),
    "jpg": (("image", "jpg"), "jpeg_pipe", 0.0),
    "webp": (("image", "webp"), "webp_pipe", 0.0),
}


@pytest.mark.parametrize(("recipe", "container", "duration_s"), CONTAINERS.values(), ids=CONTAINERS)
def test_reads_every_container(clips: Clips, recipe: Recipe, container: str, duration_s: float) -> None:
    """Its name is ffmpeg's; its duration is the longest stream's, and 0 for a still picture."""
    path = make_clip(clips, recipe)
    assert_facts(probe(path), container=container, duration_s=duration_s, size_bytes=path.stat().st_size)


def test_counts_from_the_container_s_own_start(clips: Clips) -> None:
    """So that a time given to ffmpeg's -ss means the same picture."""
    assert probe(clips.late_start()).start_s == pytest.approx(101.378667)
    assert probe(clips.wrapped_clock()).start_s == pytest.approx(-1.021333)


def test_late_audio_has_a_late_start(clips: Clips) -> None:
    """Packets that only warm up the decoder do not count."""
    (sound,) = probe(clips.late_audio()).audio
    assert_facts(sound, start_s=0.5, duration_s=1.5, codec="aac", sample_rate_hz=48000, channels=1)


def test_reads_languages_and_the_default_track(clips: Clips) -> None:
    sounds = probe(clips.languages()).audio
    assert [(s.index, s.language, s.default) for s in sounds] == [(1, "eng", False), (2, "jpn", True)]


def test_an_undetermined_language_is_empty(clips: Clips) -> None:
    """MP4 stores `und` for it."""
    assert probe(clips.audio_only("m4a")).audio[0].language == ""


@pytest.mark.parametrize("extension", ["mp3", "m4a", "flac", "mkv"])
def test_cover_art_is_not_a_video(clips: Clips, extension: str) -> None:
    media = probe(clips.with_cover(extension))
    assert_facts(media, video=None, cover_index=1, other_streams=())
    assert len(media.audio) == 1


def test_finds_the_video_next_to_a_larger_cover(clips: Clips) -> None:
    """The largest stream is not always the main one."""
    media = probe(clips.video_with_cover())
    assert media.cover_index == 1
    assert_facts(media.video, index=0, width=160, frames=50)


def test_the_default_video_is_used(clips: Clips) -> None:
    """The other one is listed."""
    media = probe(clips.two_videos())
    assert media.other_streams == ("video",)
    assert_facts(media.video, index=1, width=320)


PROGRAMMES: dict[str, tuple[tuple[str, ...], int | None, list[int], tuple[str, ...]]] = {
    "SD, then HD": (("va", "VA"), 320, [3], ("video", "audio")),
    "HD, then SD": (("VA", "va"), 320, [1], ("video", "audio")),
    "of equal size": (("va", "wA"), 160, [1], ("video", "audio")),
    "one sound for both": (("va", "Va"), 320, [1], ("video",)),
    "a silent programme": (("va", "V"), 320, [], ("video", "audio")),
    "two sounds in one": (("v", "VaA"), 320, [1, 3], ("video",)),
    "radio": (("a", "A"), None, [0], ("audio",)),
    "a sound in no programme": (("va", "V", "-A"), 320, [], ("video", "audio", "audio")),
    "a sound beside the only programme": (("va", "-A"), 160, [1, 2], ()),
}


@pytest.mark.parametrize(("members", "width", "sounds", "others"), PROGRAMMES.values(), ids=PROGRAMMES)
def test_one_of_several_programmes_is_used(clips, members, width, sounds, others) -> None:
    """Only the video's own audio; without video, the first programme's. Other streams are listed."""
    media = probe(clips.programmes(*members))
    assert (media.video.width if media.video else None) == width
    assert_facts(media, other_streams=others)
    assert [sound.index for sound in media.audio] == sounds


def test_a_programme_is_measured_by_its_own_clock(clips) -> None:
    """The other one's is 50 s behind; ffmpeg counts from that."""
    media = probe(clips.own_clocks())
    assert_facts(media, start_s=51.4, duration_s=2.026667, seekable=False)
    assert_facts(media.video, start_s=0.021333, duration_s=2.0, frames=50)
    assert_facts(media.audio[0], start_s=0.0)
    assert probe(clips.programmes("va", "VA")).seekable


@pytest.mark.parametrize(
    ("recipe", "kinds"),
    [
        (("with_data",), ("data",)),
        (("with_subtitles", "mkv"), ("subtitle",)),
        (("with_subtitles", "mp4"), ("subtitle",)),
        (("unknown_audio_codec",), ("audio",)),
    ],
)
def test_unusable_streams_are_ignored(clips: Clips, recipe: Recipe, kinds: tuple[str, ...]) -> None:
    """Time codes, subtitles, audio without a decoder: listed, but not part of the duration."""
    assert_facts(probe(make_clip(clips, recipe)), other_streams=kinds, audio=(), duration_s=2.0)


def test_a_stream_that_appears_late_is_not_used(clips: Clips) -> None:
    """ffmpeg does not use it either; PyAV fails on it."""
    assert_facts(probe(clips.late_stream()), other_streams=(), duration_s=2.026)


def test_measures_bitrates_by_stream(clips: Clips) -> None:
    """From the packets, because many headers have none."""
    media = probe(clips.video())
    assert media.video
    streams = media.video.bitrate_bps + media.audio[0].bitrate_bps
    assert 0.9 * media.bitrate_bps < streams < media.bitrate_bps


def test_without_a_scan_times_come_from_headers(clips: Clips) -> None:
    """For callers that must not read the whole file."""
    media = probe(clips.video(), scan=False)
    assert_facts(media, duration_s=2.0)
    assert_facts(media.video, frames=50, frame_rate=25, width=320, last_s=1.96)
    assert len(media.audio) == 1


REFUSED: dict[str, tuple[Recipe, type[MpsError], str]] = {
    "empty": (("empty",), ContentMalformed, "the file is empty"),
    "text": (("text",), ContentMalformed, "not a media file: it begins with text"),
    "web page": (("html",), ContentMalformed, "not a media file: an HTML page"),
    "noise": (("noise",), ContentMalformed, "not a media file, or its beginning is damaged"),
    "zeros": (("zeros",), ContentMalformed, "not a media file: it begins with zeros"),
    "no header": (("headerless",), ContentMalformed, "an MP4 or QuickTime file without its header (moov)"),
    "cut mp4": (("truncated", "mp4"), ContentMalformed, "cut off: its header says 10.0 s, its data ends at 6."),
    "cut mkv": (("truncated", "mkv"), ContentMalformed, "cut off: its header says 10.0 s, its data ends at 6."),
    "cut flv": (("truncated", "flv"), ContentMalformed, "cut off: its header says 10.0 s, its data ends at 6."),
    "cut avi": (("truncated", "avi"), ContentMalformed, "cut off: its header says 10.0 s, its data ends at "),
    "zeros for pictures": (("undecodable",), ContentMalformed, "none of the video's pictures can be decoded"),
    "no size": (("no_resolution",), NoVideoResolution, "the video has no width and height"),
    "unknown codec": (("unknown_codec",), ContentUnsupported, "no decoder for the video codec zzzz"),
    "DRM": (("encrypted",), ContentUnsupported, "the file is encrypted"),
    "HLS as mp4": (("hls_playlist",), ContentUnsupported, "the file is an HLS playlist, not media"),
    "ffconcat as mp4": (("concat_playlist",), ContentUnsupported, "the file is a list of files for ffmpeg, not media"),
    "NUT": (("other_container",), ContentUnsupported, "the container nut is not accepted"),
    "too large": (("large_image",), ContentUnsupported, "a picture of 9000 x 9000 is too large"),
}


@pytest.mark.parametrize(("recipe", "kind", "message"), REFUSED.values(), ids=REFUSED)
def test_says_what_is_wrong(clips: Clips, recipe: Recipe, kind: type[MpsError], message: str) -> None:
    """With a message for the person who uploaded the file, and the error that the callback reports."""
    with pytest.raises(MpsError) as caught:
        probe(make_clip(clips, recipe))
    assert type(caught.value) is kind
    assert message in caught.value.message


def test_gives_the_reason_every_time(clips: Clips) -> None:
    """It is in a log line, and by default PyAV drops a line that repeats the last one."""
    for _ in range(2):
        with pytest.raises(ContentUnsupported, match="nut"):
            probe(clips.other_container())


def test_a_playlist_is_not_opened_under_any_name(clips: Clips, tmp_path: Path) -> None:
    """libav trusts extensions; a playlist could make us read other files and hosts."""
    for name in ("a.m3u8", "a.ts", "a.mpd", "noextension"):
        disguised = tmp_path / name
        shutil.copy(clips.hls_playlist(), disguised)
        with pytest.raises(ContentUnsupported, match="HLS playlist"):
            probe(disguised)


def test_a_small_limit_refuses_before_decoding(clips: Clips) -> None:
    """A picture of a few kilobytes can need gigabytes of memory."""
    with pytest.raises(ContentUnsupported, match="320 x 180 is too large"):
        probe(clips.video(), max_pixels=320 * 180 - 1)
    assert probe(clips.video(), max_pixels=320 * 180).video


def test_a_missing_file_is_not_malformed(tmp_path: Path) -> None:
    """It is not accessible; the same for a folder."""
    for path in (tmp_path / "nothing.mp4", tmp_path):
        with pytest.raises(SourceNotAccessible):
            probe(path)


@pytest.mark.parametrize("name", ["-y.mp4", "a:b.mp4", "concat:x.mp4", "pic%03d.mp4", "new\nline.mp4", "日本 語.mp4"])
def test_any_file_name_is_only_a_name(clips: Clips, tmp_path: Path, name: str) -> None:
    """Never an option, a protocol or a pattern."""
    shutil.copy(clips.video(), tmp_path / name)
    assert probe(tmp_path / name).video


def test_a_name_that_is_not_unicode_is_only_a_name(clips: Clips, tmp_path: Path) -> None:
    """Linux file names are bytes."""
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.mp4"))
    shutil.copy(clips.video(), path)
    assert probe(path).video


def child(*args: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mps_dagster.media.probe", *map(str, args)], capture_output=True, text=True, check=False
    )


def test_the_child_gives_the_same_result_as_the_call(clips: Clips) -> None:
    """As JSON, fractions included, with nothing else on stdout."""
    process = child(clips.variable_rate())
    assert (process.returncode, process.stderr) == (0, "")
    assert parse_child(process.stdout, process.returncode) == probe(clips.variable_rate())


def test_the_child_s_error_is_raised_again(clips: Clips) -> None:
    """Type, message and hint."""
    process = child(clips.video(), "--max-pixels", "100")
    assert process.returncode == 3
    with pytest.raises(ContentUnsupported, match="320 x 180 is too large") as caught:
        parse_child(process.stdout, process.returncode)
    assert "100" in caught.value.hint


@pytest.mark.parametrize(
    ("stdout", "returncode", "end"),
    [
        ("", -11, "signal 11"),
        ("", 1, "exit code 1"),
        ("", 0, "exit code 0"),
        ('{"container": "mp4"', 0, "exit code 0"),
        ("[]", 3, "exit code 3"),
        ("{}", 3, "exit code 3"),
        ('{"error": "Path", "message": "", "hint": ""}', 3, "exit code 3"),
    ],
)
def test_a_crashed_child_means_a_malformed_file(stdout: str, returncode: int, end: str) -> None:
    """It would crash the parser again."""
    with pytest.raises(ContentMalformed, match=f"the probe crashed on this file .{end}"):
        parse_child(stdout, returncode)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_child_says_nothing_of_the_file(number: int) -> None:
    """As when the memory of the host ran out: a retry helps."""
    with pytest.raises(ToolKilled, match=f"killed by signal {number}") as raised:
        parse_child("", -number)
    assert raised.value.retryable


@pytest.mark.parametrize("kind", [ContentMalformed, ContentUnsupported, NoVideoResolution, SourceNotAccessible])
def test_every_error_of_the_probe_crosses_the_process_border(kind: type[SourceFileError]) -> None:
    """By its name."""
    with pytest.raises(kind, match="told"):
        parse_child(json.dumps({"error": kind.__name__, "message": "told", "hint": "so"}), 3)


REAL: dict[str, dict[str, Any]] = {
    "big_buck_bunny_0_30.webm": {"codec": "vp8", "width": 1280, "frame_rate": 24, "frames": 720},
    "no_duration.webm": {"codec": "vp9", "frame_rate": Fraction(15000, 1001), "alpha": True},
    "smpte-2997.mp4": {"codec": "h264", "height": 1080, "color_space": "bt709", "longest_key_gap_s": 0.6},
    "video_with_failing_audio.mp4": {"codec": "h264", "frames": 280, "duration_s": 11.2},
    "chaplin.mp4": {"codec": "h264", "frames": 241, "duration_s": 9.64},
    "traffic_camera_vfr.mp4": {"variable_frame_rate": True, "frames": 576},
    "earth.mov": {"frame_rate": 30, "duration_s": 30.033333},
    "quicktime-hvc1.mov": {"codec": "hevc", "rotation": 90, "display_size": (720, 1280), "frames": 35},
    "scene-change.mov": {"codec": "mjpeg", "frames": 19, "duration_s": 20.0, "full_range": True},
    "small_video.mp4": {"width": 426, "frame_rate": 30, "sample_aspect": Fraction(640, 639)},
    "test.avi": {"codec": "msmpeg4v2", "frames": 496, "frame_rate": 30},
    "captions-test.ts": {"frame_rate": Fraction(30000, 1001), "start_s": 0.0, "frames": 599},
}


@pytest.mark.parametrize(("name", "expected"), REAL.items(), ids=REAL)
def test_real_clips_are_read(media_folder: Path, name: str, expected: dict[str, Any]) -> None:
    """From cameras, phones and old programs, which ffmpeg cannot imitate."""
    assert_facts(probe(media_folder / name).video, **expected)


@pytest.mark.parametrize("name", ["aonly.mov", "audio-aac-001.mp4"])
def test_real_sound_in_video_containers_is_read(media_folder: Path, name: str) -> None:
    """A .mov or .mp4 may have no video."""
    media: MediaInfo = probe(media_folder / name)
    assert media.video is None
    assert [sound.codec for sound in media.audio] == ["aac"]


def test_a_real_reference_movie_is_refused(media_folder: Path) -> None:
    """Its pictures are in other files, which were not uploaded."""
    with pytest.raises(ContentMalformed, match="media is in other files"):
        probe(media_folder / "quicktime-jpeg.mov")
