"""From the files of ffmpeg's filters to findings, without ffmpeg."""

from __future__ import annotations

from itertools import pairwise

import pytest

from mps_dagster.media.info import AudioStream, MediaInfo, VideoStream
from mps_dagster.media.inspection import CHECKS, MAX_FINDINGS, Finding, Inspection, Thresholds, Verdict, confidence
from mps_dagster.media.picture_checks import black_borders, black_parts, doubled_frames, frozen_parts, looks_bad
from mps_dagster.media.readings import Message, Reading, messages, parts, readings, together
from mps_dagster.media.sound_checks import clipped_parts, loudness, opposite_parts, silent_parts
from mps_dagster.media.stream_checks import (
    complaints,
    format_changes,
    frame_times,
    size_changes,
    unequal_lengths,
    window_times,
)

VIDEO = VideoStream(index=0, codec="h264", width=320, height=180, pixel_format="yuv420p", duration_s=20, frames=500)
TRACK = AudioStream(index=1, codec="aac", sample_rate_hz=48_000, channels=2, duration_s=20)
MEDIA = MediaInfo(container="mov", size_bytes=1, duration_s=20, video=VIDEO, audio=(TRACK,))
USUAL = Thresholds()


def frames(differences: dict[int, float], count: int = 500, usual: float = 2.0) -> list[Reading]:
    """25 frames per second; each differs as usual from the one before, but for some."""
    return [Reading(n / 25, {"scd.mafd": differences.get(n, usual)}) for n in range(count)]


def looks(values: dict[str, float], others: dict[str, float], start_s: float, end_s: float) -> list[Reading]:
    """Two a second, with other values in one part."""
    return [Reading(n / 2, {**values, **(others if start_s <= n / 2 < end_s else {})}) for n in range(40)]


def sound(others: dict[str, float], start_s: float, end_s: float) -> list[Reading]:
    """Windows of 0.1 s of an usual track, with other values in one part."""
    usual = {
        "astats.Overall.Peak_level": -6.0,
        "astats.Overall.Flat_factor": 0.0,
        "aphasemeter.phase": 0.4,
        "r128.I": -20.0,
    }
    return [Reading(n / 10, {**usual, **(others if start_s <= n / 10 < end_s else {})}) for n in range(200)]  # fmt: skip


def times(found) -> list[tuple[str, float, float]]:
    return [(item.check, round(item.start_s, 2), round(item.end_s, 2)) for item in found]


def test_entries_are_read_with_their_times_and_numbers():
    """A value that is no number (a time code), a time that is not known, and lines of other kinds are passed over."""
    text = """frame:0    pts:0       pts_time:0
lavfi.blur=4.5
lavfi.timecode=00:00:00:00
frame:1    pts:NOPTS   pts_time:NOPTS
lavfi.blur=5
something else
frame:2    pts:40      pts_time:0.04
lavfi.astats.Overall.Peak_level=-inf
lavfi.block=nan
"""
    first, second = readings(text.splitlines())
    assert first == Reading(0.0, {"blur": 4.5})
    assert (second.at_s, second.get("astats.Overall.Peak_level")) == (0.04, float("-inf"))
    assert not second.get("block") >= 0
    assert not second.get("was not measured") >= 0


def test_a_message_has_the_time_of_the_entry_before_it():
    """What the demuxer says while it looks ahead is left out; what a decoder says then is of the start."""
    lines = [
        "[in#0/mpegts @ 0x1] Packet corrupt (stream = 0, dts = 304490).", "[h264 @ 0x2] error while decoding MB 1 2",
        "frame:0    pts:0       pts_time:0", "lavfi.signalstats.YAVG=20", "frame:1    pts:45000   pts_time:0.5",
        "lavfi.signalstats.YAVG=20", "[in#0/mpegts @ 0x1] Packet corrupt (stream = 0, dts = 304490).",
    ]  # fmt: skip
    assert list(messages(lines)) == [Message(0.0, lines[1]), Message(0.5, lines[-1])]


@pytest.mark.parametrize(
    ("held", "may_miss", "expected"),
    [
        ("..xxx..", False, [(2, 5)]),
        ("xxx....", False, [(0, 3)]),
        ("....xxx", False, [(4, 7.5)]),
        ("xx.xx..", False, [(0, 2), (3, 5)]),
        ("xx.xx..", True, [(0, 5)]),
        ("xx..xx.", True, [(0, 2), (4, 6)]),
        (".......", True, []),
        ("xx.", True, [(0, 2)]),
    ],
)
def test_runs_of_readings_become_parts(held, may_miss, expected):
    measured = [Reading(float(at), {"x": float(mark == "x")}) for at, mark in enumerate(held)]
    found = parts(measured, lambda r: r.get("x") > 0, end_s=7.5, step_s=1, may_miss=lambda _: may_miss)
    assert [(part.start_s, part.end_s) for part in found] == expected


def test_a_reading_does_not_last_through_a_gap():
    measured = [Reading(0.0), Reading(1.0), Reading(9.0)]
    [part] = parts(measured, lambda r: r.at_s < 9, end_s=10, step_s=1)
    assert (part.start_s, part.end_s) == (0.0, 3.0)


def test_times_close_together_are_one_group():
    assert together([1, 1.5, 2.4, 4, 4.1]) == [[1, 1.5, 2.4], [4, 4.1]]


@pytest.mark.parametrize(("excess", "percent"), [(-1, 50), (0, 50), (0.5, 75), (1, 100), (9, 100)])
def test_confidence_grows_with_the_distance_from_the_threshold(excess, percent):
    assert confidence(excess) == percent


@pytest.mark.parametrize(
    ("start_s", "end_s", "expected"),
    [
        (5.0, 6.0, [("black", 5.0, 6.0)]),
        (5.0, 5.9, []),
        (0.0, 2.5, []),
        (0.0, 3.0, [("black", 0.0, 3.0)]),
        (18.0, None, []),
        (16.5, None, [("black", 16.5, 20.0)]),
    ],
)
def test_black_parts(start_s, end_s, expected):
    """The start and the end may be black for longer. What is black to the end has no end of its own."""
    ends = [Reading(end_s, {"black_end": end_s})] if end_s else []
    assert times(black_parts([Reading(start_s, {"black_start": start_s})], ends, VIDEO, USUAL)) == expected


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        (dict.fromkeys(range(26, 176), 0.0), [("frozen", 1.0, 7.04)]),
        (dict.fromkeys(range(26, 140), 0.0), []),
        (dict.fromkeys(range(26, 176), 0.0) | {100: 0.4}, [("frozen", 1.0, 7.04)]),
        (dict.fromkeys(range(26, 176), 0.0) | {100: 30.0}, []),
        (dict.fromkeys(range(26, 176), 0.05), []),
        (dict.fromkeys(range(400, 500), 0.0), []),
        (dict.fromkeys(range(300, 500), 0.0), [("frozen", 11.96, 20.0)]),
    ],
    ids=["six seconds", "too short", "a key frame in it", "a cut in it", "slow movement", "a short end", "a long end"],
)
def test_frozen_parts(differences, expected):
    assert times(frozen_parts(frames(differences), VIDEO, USUAL)) == expected


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        ({100: 0.0}, [("doubled_frames", 4.0, 4.04)]),
        ({100: 0.0, 110: 0.0, 120: 0.0}, [("doubled_frames", 4.0, 4.84)]),
        ({100: 0.0, 101: 0.0}, []),
        ({99: 0.2, 100: 0.0, 101: 0.2}, []),
        ({1: 0.0}, []),
    ],
    ids=["one", "several are one finding", "a still moment", "a fade", "the first"],
)
def test_doubled_frames(differences, expected):
    assert times(doubled_frames(frames(differences), VIDEO, USUAL)) == expected


PLAIN = {"blur": 5.0, "block": 2.0, "entropy.entropy.normal.Y": 7.0, "signalstats.YAVG": 110.0, "signalstats.YMIN": 16.0,
         "signalstats.YMAX": 235.0}  # fmt: skip


@pytest.mark.parametrize(
    ("others", "seconds", "expected"),
    [
        ({}, 4, []),
        ({"blur": 20.0}, 4, ["blurred"]),
        ({"blur": 20.0}, 1, []),
        ({"blur": float("nan")}, 4, []),
        ({"block": 60.0}, 4, ["blocky"]),
        ({"block": 60.0, "entropy.entropy.normal.Y": 4.0}, 4, []),
        ({"signalstats.YAVG": 30.0, "signalstats.YMAX": 60.0}, 4, ["dark"]),
        ({"signalstats.YAVG": 30.0}, 4, []),
        ({"signalstats.YAVG": 16.0, "signalstats.YMAX": 18.0}, 4, []),
        ({"signalstats.YAVG": 225.0, "signalstats.YMIN": 200.0}, 4, ["bright"]),
        ({"signalstats.YAVG": 225.0}, 4, []),
    ],
    ids=["nothing", "blurred", "too short", "flat", "blocky", "drawn", "dark", "stars", "black", "bright", "paper"],
)
def test_parts_that_look_bad(others, seconds, expected):
    found = list(looks_bad(looks(PLAIN, others, 5, 5 + seconds), VIDEO, USUAL, 0.5))
    assert times(found) == [(check, 5.0, 5.0 + seconds) for check in expected]


def box(left: int, top: int, right: int, bottom: int) -> dict[str, float]:
    return {"cropdetect.x1": left, "cropdetect.x2": right, "cropdetect.y1": top, "cropdetect.y2": bottom}


FULL = box(0, 0, 319, 179)


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        ([FULL] * 40, []),
        ([box(0, 20, 319, 159)] * 40, [(0, 20, 320, 160)]),
        ([box(0, 20, 319, 159), box(0, 20, 319, 159), box(60, 50, 200, 120)] * 10, [(0, 20, 320, 160)]),
        ([box(0, 20, 319, 179)] * 40, []),
        ([box(n, 20, 319 - n, 159) for n in range(10, 50)], []),
        ([FULL] * 20 + [box(0, 20, 319, 159)] * 4 + [FULL] * 16, []),
        ([box(319, 179, 0, 0)] * 40, []),
    ],
    ids=["none", "letterbox", "darker pictures in it", "one side", "something that grows", "too short", "black"],
)
def test_black_borders(boxes, expected):
    found = black_borders([Reading(n / 2, values) for n, values in enumerate(boxes)], VIDEO, USUAL, 0.5)
    assert [item.area for item in found] == expected


@pytest.mark.parametrize(
    ("check", "others", "start_s", "end_s", "expected"),
    [
        (silent_parts, {"astats.Overall.Peak_level": float("-inf")}, 5, 8, [("silence", 5.0, 8.0)]),
        (silent_parts, {"astats.Overall.Peak_level": -61.0}, 5, 6.5, []),
        (silent_parts, {"astats.Overall.Peak_level": -61.0}, 0, 2.5, []),
        (silent_parts, {"astats.Overall.Peak_level": -61.0}, 16, 20, [("silence", 16.0, 20.0)]),
        (loudness, {"r128.I": -45.0}, 0, 20, [("quiet", 0.0, 20.0)]),
        (loudness, {"r128.I": -70.0}, 0, 20, []),
        (loudness, {"r128.I": -4.0}, 0, 20, [("loud", 0.0, 20.0)]),
        (loudness, {"r128.I": float("nan")}, 19, 20, []),
        (clipped_parts, {"astats.Overall.Peak_level": 0.0, "astats.Overall.Flat_factor": 20.0}, 5, 6, [("clipping", 5.0, 6.0)]),
        (clipped_parts, {"astats.Overall.Peak_level": 0.0, "astats.Overall.Flat_factor": 20.0}, 5, 5.1, []),
        (clipped_parts, {"astats.Overall.Peak_level": 0.0}, 5, 6, []),
        (clipped_parts, {"astats.Overall.Flat_factor": 20.0}, 5, 6, []),
        (opposite_parts, {"aphasemeter.phase": -0.95}, 5, 8, [("phase", 5.0, 8.0)]),
        (opposite_parts, {"aphasemeter.phase": -0.95}, 5, 6, []),
        (opposite_parts, {"aphasemeter.phase": -0.95, "astats.Overall.Peak_level": -55.0}, 5, 8, []),
    ],
)  # fmt: skip
def test_faults_of_the_sound(check, others, start_s, end_s, expected):
    assert times(check(sound(others, start_s, end_s), TRACK, USUAL)) == expected


@pytest.mark.parametrize(
    ("at", "variable", "expected"),
    [
        ([0, 1, 2, 4, 5], False, [("dropped_frames", 0.08, 0.16)]),
        ([0, 1, 2, 4, 5], True, []),
        ([0, 1, 2, 52, 53], True, [("gaps", 0.08, 2.08)]),
        ([0, 1, 2, 2, 3], False, [("time_stamps", 0.08, 0.08)]),
        ([0, 1, 2, 1, 2, 3], False, [("time_stamps", 0.08, 0.08)]),
        ([0, 1], False, []),
        ([], False, []),
    ],
)
def test_time_stamps_of_frames(at, variable, expected):
    video = VIDEO.model_copy(update={"variable_frame_rate": variable})
    assert times(frame_times([Reading(n / 25) for n in at], video, USUAL)) == expected


def test_a_gap_in_the_sound():
    assert times(window_times([Reading(0.0), Reading(0.1), Reading(2.2)], 1, USUAL)) == [("gaps", 0.2, 2.2)]


def test_streams_of_unequal_length():
    later = TRACK.model_copy(update={"start_s": 2.0, "duration_s": 15.0})
    media = MEDIA.model_copy(update={"audio": (TRACK, later)})
    assert times(unequal_lengths(media, USUAL)) == [("unequal_lengths", 0.0, 2.0), ("unequal_lengths", 17.0, 20.0)]


SIZES = "filter context - w: 320 h: 180 fmt: 0 csp: unknown, incoming frame - w: 640 h: 360 fmt: 0 pts_time: 2.04"


@pytest.mark.parametrize(
    ("text", "check", "start_s", "end_s", "stream"),
    [
        ("[vist#0:0/h264 @ 0x1] [dec:h264 @ 0x2] corrupt decoded frame", "decode_errors", 10, 12, 0),
        ("[h264 @ 0x1] error while decoding MB 8 4, bytestream 1709", "decode_errors", 10, 12, 0),
        (
            "[aist#0:1/mp3 @ 0x1] [dec:mp3 @ 0x2] Error submitting packet to decoder: Invalid",
            "decode_errors",
            10,
            12,
            1,
        ),
        ("[in#0/matroska,webm @ 0x1] File ended prematurely at pos. 26804", "decode_errors", 20, 20, None),
        ("[in#0/mpegts @ 0x1] Packet corrupt (stream = 0, dts = 304490).", "decode_errors", 10, 12, None),
        ("[vist#0:0/h264 @ 0x1] timestamp discontinuity (stream id=256): -2000000", "time_stamps", 10, 12, None),
    ],
)
def test_what_ffmpeg_complains_about(text, check, start_s, end_s, stream):
    [found] = complaints([Message(10.0, text)], MEDIA)
    assert (found.check, found.start_s, found.end_s, found.stream) == (check, start_s, end_s, stream)


def test_a_size_that_changes_is_one_finding():
    """Each graph says it."""
    said = [Message(at_s, f"[graph {at_s} input from stream 0:0 @ 0x1] {SIZES}") for at_s in (1, 2)]
    [found] = size_changes(said, VIDEO)
    assert (found.check, found.start_s, found.end_s, found.stream) == ("format_changes", 2.04, 20.0, 0)
    assert found.message == "the picture changes from 320 x 180 to 640 x 360"


DROPPED = "[fc#2 @ 0x1] Avoiding reinit; dropping frame pts: 94976 bound for default"


@pytest.mark.parametrize(
    ("text", "windows", "expected"),
    [
        (DROPPED, 50, [("format_changes", 5.0, 20.0)]),
        (DROPPED, 199, []),
        (DROPPED, 0, [("format_changes", 0.0, 20.0)]),
        ("another", 50, []),
    ],
    ids=["this track", "another track", "from the start", "damage"],
)
def test_sound_that_changes_its_format_is_measured_up_to_there(text, windows, expected):
    measured = [Reading(n / 10) for n in range(windows)]
    assert times(format_changes(measured, TRACK, [Message(9.0, text)], 0.1)) == expected


def test_other_messages_are_no_faults():
    said = [
        "[swscaler @ 0x1] deprecated pixel format used, make sure you did set range correctly",
        "[in#0/mov,mp4 @ 0x1] Skipped opening external track", "[null @ 0x1] Application provided invalid dts",
        "    Last message repeated 1 times",
    ]  # fmt: skip
    assert list(complaints([Message(1.0, text) for text in said], MEDIA)) == []


def test_a_verdict_has_what_was_asked_for_in_the_order_of_time():
    """Only checks of `fail_on` fail the source; too many findings are counted."""

    def finding(check, start_s: float) -> Finding:
        return Finding(check=check, start_s=start_s, end_s=start_s + 1, confidence=50, message="")

    found = [finding("black", 9), finding("silence", 2), finding("frozen", 1)]
    lenient = Inspection(checks=("black", "silence"), fail_on=("black",), required=False, thresholds=USUAL)
    verdict = Verdict.of(lenient, found, MEDIA)
    assert times(verdict.findings) == [("silence", 2.0, 3.0), ("black", 9.0, 10.0)]
    assert (verdict.passed, verdict.failed_checks) == (False, ("black",))
    assert verdict.summary == "silence 2.00–3.00 s, black 9.00–10.00 s"
    assert Verdict.of(lenient, found[1:], MEDIA).summary == "passed; silence 2.00–3.00 s"
    assert Verdict.of(lenient, [], MEDIA).summary == "nothing found"
    many = Verdict.of(lenient, [finding("black", at) for at in range(MAX_FINDINGS + 5)], MEDIA)
    assert (len(many.findings), many.left_out) == (MAX_FINDINGS, 5)
    assert many.summary == f"black 0.00–1.00 s and {MAX_FINDINGS - 1} more"
    assert all(after.start_s > before.start_s for before, after in pairwise(many.findings))


def test_every_check_has_a_word_of_mps():
    from mps_dagster.tasks.quality_inspection import _DIAGNOSED, _SEEN

    assert set(_SEEN) | set(_DIAGNOSED) == set(CHECKS)
    assert not set(_SEEN) & set(_DIAGNOSED)
