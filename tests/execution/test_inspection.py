"""Faults of known kind and time are found, each at its time and nothing else; clips without a fault have no findings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import pytest
from clips import pattern, tone

from mps_dagster.errors import InspectionFailed

SECONDS = 8
FRAME_S, WINDOW_S, LOOK_S, NEAR_S = 0.041, 0.21, 0.51, 2.0
"""How exact the times of a check are."""
H264 = ("-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-g", "25", "-c:a", "aac", "-ac", "2")
PICTURE = pattern(seconds=SECONDS)
SHAPES = (
    "-f",
    "lavfi",
    "-i",
    "mandelbrot=s=640x360:r=25:start_scale=0.5:end_scale=0.4:end_pts=200",
    "-t",
    str(SECONDS),
)
"""Unlike a test pattern, it has as many shades as a photo."""
SOUND = tone(SECONDS)


class Fault(NamedTuple):
    arguments: tuple[str, ...]
    found: tuple[tuple[str, float, float], ...]
    exact_s: float
    area: tuple[int, int, int, int] | None = None
    extension: str = "mkv"


def picture(filters: str, *others: str) -> tuple[str, ...]:
    return (*PICTURE, *SOUND, "-vf", filters, "-fps_mode", "passthrough", *H264, *others)


def sound(filters: str, *others: str) -> tuple[str, ...]:
    return (*PICTURE, *SOUND, "-af", filters, *H264, *others)


def two_channels(right: str) -> tuple[str, ...]:
    wave = "0.2*sin(880*PI*t)"
    return (*PICTURE, "-f", "lavfi", "-i", f"aevalsrc='{wave}|{right}*{wave}:d={SECONDS}'", *H264)


FAULTS = {
    "none": Fault(picture("null"), (), 0),
    "none, photo-like": Fault((*SHAPES, *H264), (), 0),
    "black": Fault(picture("drawbox=t=fill:c=black:enable='between(t,1,1.999)'"), (("black", 1, 2),), FRAME_S),
    "black at the start": Fault(picture("drawbox=t=fill:c=black:enable='lt(t,3.999)'"), (("black", 0, 4),), FRAME_S),
    "a short black start": Fault(picture("drawbox=t=fill:c=black:enable='lt(t,1.999)'"), (), 0),
    "black to the end": Fault(picture("drawbox=t=fill:c=black:enable='gte(t,3.999)'"), (("black", 4, 8),), FRAME_S),
    "frozen": Fault(picture("loop=loop=149:size=1:start=25", "-t", str(SECONDS)), (("frozen", 1, 7),), FRAME_S),
    "blurred": Fault(
        (*SHAPES, "-vf", "boxblur=8:3:enable='between(t,2,5.999)'", *H264), (("blurred", 2, 6),), LOOK_S
    ),
    "blocky": Fault((*SHAPES, "-c:v", "mjpeg", "-q:v", "31", "-pix_fmt", "yuvj420p"), (("blocky", 0, 8),), LOOK_S),
    "letterbox": Fault(
        picture("drawbox=h=20:t=fill:c=black,drawbox=y=160:h=20:t=fill:c=black"),
        (("black_borders", 0, 8),), LOOK_S, (0, 20, 320, 160),
    ),
    "pillarbox": Fault(
        picture("drawbox=w=40:t=fill:c=black:enable='gte(t,3)',drawbox=x=280:w=40:t=fill:c=black:enable='gte(t,3)'"),
        (("black_borders", 3, 8),), LOOK_S, (40, 0, 280, 180),
    ),
    "dark": Fault(picture("lutyuv=y='18+(val-16)*0.2':enable='gte(t,4)'"), (("dark", 4, 8),), LOOK_S),
    "bright": Fault(picture("lutyuv=y='205+val/8':enable='lt(t,4)'"), (("bright", 0, 4),), LOOK_S),
    "silence": Fault(sound("volume=0:enable='between(t,3,5.999)'"), (("silence", 3, 6),), WINDOW_S),
    "a short silence": Fault(sound("volume=0:enable='between(t,3,4.5)'"), (), 0),
    "quiet": Fault(sound("volume=-30dB"), (("quiet", 0, 8),), WINDOW_S),
    "loud": Fault(sound("volume=16dB"), (("loud", 0, 8),), WINDOW_S),
    "clipping": Fault(
        sound("volume=30dB:enable='between(t,2,3.999)',aformat=sample_fmts=s16", "-c:a", "pcm_s16le", "-ac", "1"),
        (("loud", 0, 8), ("clipping", 2, 4)), WINDOW_S,
    ),
    "opposite phase": Fault(two_channels("if(between(t,2,5),-1,1)"), (("phase", 2, 5),), WINDOW_S),
    "one channel": Fault(two_channels("0"), (), 0),
    "a doubled frame": Fault(
        picture("loop=loop=1:size=1:start=99"), (("doubled_frames", 4, 4.04),), FRAME_S
    ),
    "a dropped frame": Fault(picture("select='not(eq(n,100))'"), (("dropped_frames", 3.96, 4.04),), FRAME_S),
    "a gap": Fault(
        picture("setpts='PTS+gte(N,100)*2/TB'"), (("gaps", 3.96, 6), ("unequal_lengths", 8, 10)), FRAME_S
    ),
    "a gap in the sound": Fault(
        sound("asetpts='PTS+gte(T,4)*2/TB'", "-c:a", "pcm_s16le"),
        (("gaps", 4, 6), ("unequal_lengths", 8, 10)), WINDOW_S,
    ),
    "sound that ends early": Fault(sound("atrim=end=4"), (("unequal_lengths", 4, 8),), 0.05),
}  # fmt: skip


@pytest.fixture
def findings(upload, made, worker):
    """Of a file, with the defaults; read from the published report."""

    def findings(path: Path, **output: object) -> list[dict]:
        [result] = made(upload(path), "quality_inspection", {"name": "all", **output})
        assert result.main[0].key == f"out/{path.stem}_qualityInspection_{output.get('name', 'all')}.json"
        report = json.loads(worker.buckets.get("outputs").read(result.main[0].key))
        assert result.facts["inspection"] == report
        assert report["passed"] is not bool(report["findings"])
        return report["findings"]

    return findings


def times(found: list[dict]) -> list[tuple[str, float, float]]:
    return [(item["check"], item["start_s"], item["end_s"]) for item in found]


def matches(found: list[dict], expected: tuple[tuple[str, float, float], ...], exact_s: float) -> bool:
    return [item["check"] for item in found] == [check for check, *_ in expected] and all(
        abs(item["start_s"] - start) <= exact_s and abs(item["end_s"] - end) <= exact_s
        for item, (_, start, end) in zip(found, expected, strict=True)
    )


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_at_its_time_and_nothing_else(clips, findings, name):
    fault = FAULTS[name]
    path = clips._ffmpeg(f"fault_{name.replace(' ', '_').replace(',', '')}.{fault.extension}", *fault.arguments)
    found = findings(path)
    assert matches(found, fault.found, fault.exact_s), times(found)
    assert all(50 <= item["confidence"] <= 100 for item in found)
    if fault.area:
        assert all(abs(a - b) <= 2 for a, b in zip(found[0]["area"], fault.area, strict=True))


@pytest.mark.parametrize(
    ("clip", "expected", "exact_s"),
    [
        (("changing_picture",), (("format_changes", 3, 6),), FRAME_S),
        (("changing_sound", "-ar 44100", "-ar 48000"), (("format_changes", 3, 6),), WINDOW_S),
        (("unequal", 2, 4), (("unequal_lengths", 2, 4),), 0.05),
        (("gap",), (("unequal_lengths", 0, 4), ("unequal_lengths", 1, 5)), 0.05),
        (("joined",), (("time_stamps", 2, 3),), NEAR_S),
    ],
    ids=str,
)
def test_streams_that_do_not_fit_together_are_found(clips, findings, clip, expected, exact_s):
    found = [item for item in findings(getattr(clips, clip[0])(*clip[1:])) if item["check"] != "decode_errors"]
    assert matches(found, expected, exact_s), times(found)


CLEAN = [
    ("video",), ("no_audio",), ("audio_only",), ("b_frames",), ("rotated", 90), ("odd_size",), ("anamorphic",),
    ("interlaced",), ("cropped",), ("ten_bit",), ("hdr10",), ("hlg",), ("alpha",), ("milliseconds",), ("late_start",),
    ("edit_list",), ("jittered",), ("languages",), ("with_cover",), ("two_videos",), ("transport_stream",), ("fragmented",),
    ("flv",), ("mjpeg_avi",), ("msmpeg4_avi",), ("vp8",), ("no_duration",), ("mpeg2",), ("wmv",), ("mxf",), ("mirrored",),
    ("variable_rate",), ("b_frames_avi",), ("hevc", "mp4"), ("wrapped_clock",),
]  # fmt: skip


@pytest.mark.parametrize("clip", CLEAN, ids=lambda clip: clip[0])
def test_a_clip_without_a_fault_has_no_findings(clips, findings, clip):
    """Whatever codec, container, time base and shape it has."""
    assert times(findings(getattr(clips, clip[0])(*clip[1:]))) == []


def test_a_file_that_is_cut_off_is_damaged_at_its_end(clips, findings, tmp_path):
    """If its header says its length, the probe refuses it already."""
    whole = clips._ffmpeg("live.mkv", *PICTURE, *SOUND, *H264, "-live", "1")
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    found = [item for item in findings(cut) if item["message"] == "the file is cut off"]
    assert matches(found, (("decode_errors", 4.8, 4.8),), 0.3), times(found)


def test_damaged_data_is_found_where_it_is(clips, findings, tmp_path):
    """About: decoders are some frames ahead of the filters that tell the time."""
    content = bytearray(clips._ffmpeg("whole.ts", *PICTURE, *SOUND, *H264).read_bytes())
    middle = len(content) // 2
    for at in range(middle, middle + 20_000, 7):
        packet = at - at % 188
        # Of a packet that begins a picture or a piece of sound, the time stamp would be damaged, too.
        if at % 188 > 12 and not content[packet + 1] & 0x40:
            content[at] ^= 0x55
    damaged = tmp_path / "damaged.ts"
    damaged.write_bytes(content)
    found = [item for item in findings(damaged) if item["check"] == "decode_errors"]
    assert found
    assert all(2 <= item["start_s"] <= item["end_s"] <= 6.5 for item in found), times(found)


def test_only_the_checks_that_were_asked_for_are_made(clips, findings):
    """Their thresholds are the output's own."""
    path = clips._ffmpeg("two_faults.mkv", *sound("volume=0:enable='between(t,3,4.5)'"))
    assert times(findings(path)) == []
    lower = findings(path, name="lower", checks=["silence"], thresholds={"silence_s": 1})
    assert [item["check"] for item in lower] == ["silence"]


def test_a_required_inspection_fails_after_its_report_is_published(clips, upload, planned, worker):
    """And again when the run is repeated, without another decode. A fault that is tolerated is only reported."""
    fault = FAULTS["black"]
    source = upload(clips._ffmpeg("fault_black.mkv", *fault.arguments))
    [subtask] = planned(source, "quality_inspection", {"definition": 10, "required": True})
    for _ in range(2):
        with pytest.raises(InspectionFailed, match=r"black 1\.00–2\.0\d s") as raised:
            worker.perform(subtask, "run", lambda *_: None)
        assert not raised.value.retryable
        assert "outputs/out/fault_black_qualityInspection_10.json" in raised.value.hint
    assert not json.loads(worker.buckets.get("outputs").read(subtask.plan.primary_key))["passed"]
    tolerant = {"name": "tolerant", "required": True, "fail_on": ["silence"]}
    [subtask] = planned(source, "quality_inspection", tolerant)
    assert worker.perform(subtask, "run", lambda *_: None).verdict.passed


REAL = {
    "aonly.mov": set(), "audio-aac-001.mp4": set(), "big_buck_bunny_0_30.webm": set(),
    "captions-test.ts": {"frozen"},  # One colour for 20 s.
    "chaplin.mp4": {"black_borders", "doubled_frames"},  # 4:3 in 16:9; an old film at 25 frames per second.
    "earth.mov": {"silence"}, "no_duration.webm": {"black", "silence"}, "quicktime-hvc1.mov": set(),
    "scene-change.mov": {"dropped_frames"},  # A step of 2 s at one frame per second.
    "small_video.mp4": set(), "smpte-2997.mp4": {"black_borders"}, "test.avi": set(), "traffic_camera_vfr.mp4": set(),
    "video_with_failing_audio.mp4": {"silence"},
}  # fmt: skip


@pytest.mark.parametrize("name", REAL)
def test_real_clips_have_the_faults_that_a_person_sees_in_them(media_folder, findings, name):
    assert {item["check"] for item in findings(media_folder / name)} == REAL[name]
