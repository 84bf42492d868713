"""Several commands as one: inputs that read the source alike are shared, all else stays each one's own."""

from __future__ import annotations

import shlex
from fractions import Fraction

import pytest

from mps_dagster.ffmpeg.joint import MAX_OUTPUTS, Command, bundles, join
from mps_dagster.ffmpeg.sharing import MAX_INPUTS, max_inputs, processes, sharing_key
from tests.tasks.test_argv import CASES, clip, plan_output

A = "-f mov -i file:source -filter_complex '[0:0]scale=2:2[s0];[s0]null[s1]' -map '[s1]' -map 0:1 -f mp4 -c:v libx264 file:out.mp4"
SOUND = "-f mov -i file:source -map 0:1 -f mp3 -c:a libmp3lame file:out.mp3"
MARKED = (
    "-f mov -i file:source -f png_pipe -i file:watermark_0.png -filter_complex '[1:v:0]format=rgba[s0];[0:0][s0]overlay=x=1[s1]'"
    " -map '[s1]' -f mp4 -c:v libx264 file:out.mp4"
)
BLACK = "-f lavfi -i color=black:s=2x2 -f mov -i file:source -filter_complex '[0][1:0]concat[s0]' -map '[s0]' -f hls -hls_fmp4_init_filename init.mp4 -hls_segment_filename s_%05d.m4s file:out.m3u8"
SHORT = "-f mov -t 3 -i file:source -filter_complex '[0:0]null[s0]' -map '[s0]' -f mp4 file:out.mp4"
TS = "-f mpegts -i file:source -filter_complex '[0:0]null[s0]' -map '[s0]' -f mp4 file:out.mp4"
TS_SOUND = "-f mpegts -i file:source -filter_complex '[0:0]null[s0]' -map '[s0]' -map 0:1 -f mp4 file:out.mp4"


def command(text: str) -> Command:
    parsed = Command.parse(tuple(shlex.split(text)))
    assert parsed
    return parsed


@pytest.mark.parametrize(("kind", "output", "media", "commands"), CASES)
def test_every_command_of_a_plan_is_understood(kind, output, media, commands):
    """What is written again is what was read. An inspection has several outputs, and runs by itself."""
    if kind == "quality_inspection":
        assert [Command.parse(argv) for argv in plan_output(kind, output, media).commands] == [None]
        return
    for argv in plan_output(kind, output, media).commands:
        parsed = Command.parse(argv)
        assert parsed is not None
        assert parsed.argv == argv


@pytest.mark.parametrize(
    "text",
    [
        "-version", "-i file:source", "-i file:source -map 0:0 -y file:out.mp4", "-i file:source -map 0:0 out.mp4",
        "-i file:source -map 0:0 -f mp4 file:a.mp4 -map 0:1 -f mp3 file:b.mp3", "",
    ],
)  # fmt: skip
def test_a_command_of_another_form_is_not_joined(text):
    assert Command.parse(tuple(shlex.split(text))) is None


@pytest.mark.parametrize(
    ("members", "argv"),
    [
        pytest.param(
            {"a": A, "b": A},
            "-f mov -i file:source"
            " -filter_complex '[0:0]scale=2:2[m0s0];[m0s0]null[m0s1]' -map '[m0s1]' -map 0:1 -f mp4 -c:v libx264 file:a/out.mp4"
            " -filter_complex '[0:0]scale=2:2[m1s0];[m1s0]null[m1s1]' -map '[m1s1]' -map 0:1 -f mp4 -c:v libx264 file:b/out.mp4",
            id="one input, labels and files of each one's own",
        ),
        pytest.param(
            {"a": A, "b": MARKED, "c": SOUND},
            "-f mov -i file:source -f png_pipe -i file:b/watermark_0.png"
            " -filter_complex '[0:0]scale=2:2[m0s0];[m0s0]null[m0s1]' -map '[m0s1]' -map 0:1 -f mp4 -c:v libx264 file:a/out.mp4"
            " -filter_complex '[1:v:0]format=rgba[m1s0];[0:0][m1s0]overlay=x=1[m1s1]' -map '[m1s1]' -f mp4 -c:v libx264 file:b/out.mp4"
            " -map 0:1 -f mp3 -c:a libmp3lame file:c/out.mp3",
            id="a watermark is of its member; sound needs no graph",
        ),
        pytest.param(
            {"a": MARKED, "b": MARKED},
            "-f mov -i file:source -f png_pipe -i file:a/watermark_0.png -f png_pipe -i file:b/watermark_0.png"
            " -filter_complex '[1:v:0]format=rgba[m0s0];[0:0][m0s0]overlay=x=1[m0s1]' -map '[m0s1]' -f mp4 -c:v libx264 file:a/out.mp4"
            " -filter_complex '[2:v:0]format=rgba[m1s0];[0:0][m1s0]overlay=x=1[m1s1]' -map '[m1s1]' -f mp4 -c:v libx264 file:b/out.mp4",
            id="watermarks of the same name",
        ),
        pytest.param(
            {"a": A, "b": BLACK},
            "-f mov -i file:source -f lavfi -i color=black:s=2x2"
            " -filter_complex '[0:0]scale=2:2[m0s0];[m0s0]null[m0s1]' -map '[m0s1]' -map 0:1 -f mp4 -c:v libx264 file:a/out.mp4"
            " -filter_complex '[1][0:0]concat[m1s0]' -map '[m1s0]' -f hls -hls_fmp4_init_filename init.mp4"
            " -hls_segment_filename b/s_%05d.m4s file:b/out.m3u8",
            id="HLS: segments beside the playlist, the header's name is relative to it; lavfi is no file",
        ),
        pytest.param(
            {"a": A, "b": SHORT},
            "-f mov -i file:source -f mov -t 3 -i file:source"
            " -filter_complex '[0:0]scale=2:2[m0s0];[m0s0]null[m0s1]' -map '[m0s1]' -map 0:1 -f mp4 -c:v libx264 file:a/out.mp4"
            " -filter_complex '[1:0]null[m1s0]' -map '[m1s0]' -f mp4 file:b/out.mp4",
            id="another part is another input",
        ),
        pytest.param(
            {"a": TS, "b": TS_SOUND},
            "-f mpegts -i file:source -f mpegts -i file:source"
            " -filter_complex '[0:0]null[m0s0]' -map '[m0s0]' -f mp4 file:a/out.mp4"
            " -filter_complex '[1:0]null[m1s0]' -map '[m1s0]' -map 1:1 -f mp4 file:b/out.mp4",
            id="in a transport stream, time 0 depends on the streams used",
        ),
    ],
)
def test_commands_are_joined(members, argv):
    joined = join([(folder, command(text)) for folder, text in members.items()])
    assert shlex.join(joined) == shlex.join(shlex.split(argv))


def seek(at: int) -> tuple[str, Command]:
    return "", command(
        f"-f mov -ss {at} -i file:source -filter_complex '[0:0]null[s0]' -map '[s0]' -f image2 file:{at}.jpg"
    )


@pytest.mark.parametrize(
    ("times", "inputs", "sizes"),
    [
        pytest.param([1, 2, 3, 4, 5], 2, [2, 2, 1], id="so many seeks"),
        pytest.param([1, 1, 2, 2, 3], 2, [4, 1], id="equal seeks are one input"),
        pytest.param([0] * 40, 2, [MAX_OUTPUTS, MAX_OUTPUTS, 8], id="so many outputs"),
        pytest.param([], 2, [], id="none"),
    ],
)
def test_a_process_opens_the_source_only_so_often(times, inputs, sizes):
    assert [len(bundle) for bundle in bundles(map(seek, times), inputs)] == sizes


MP4 = {"name": "a", "video_template": {"height": 360}}
RATE = {"name": "r", "video_template": {"fps": 25}}
STILL = {"name": "s", "ext_time_offset_set": ["0s", "50%"]}
PART = {"start_time_offset": 5, "end_time_offset": 9}


@pytest.mark.parametrize(
    ("first", "second", "media", "shared"),
    [
        (("transcode", MP4), ("transcode", {"definition": 100220}), clip(), True),
        (("transcode", MP4), ("watermark", {"name": "w", "watermark_set": [{"type": "text", "text_content": "x"}]}), clip(), True),
        (("transcode", MP4), ("image_sprite", {"name": "s", "sample_interval": 1, "sample_type": "Time"}), clip(), True),
        (("transcode", MP4), ("transcode", {**MP4, "end_time_offset": 6}), clip(), False),
        (("transcode", MP4), ("transcode", MP4), clip(variable_frame_rate=True), True),
        (("transcode", RATE), ("transcode", RATE), clip(), True),
        (("transcode", RATE), ("transcode", RATE), clip(variable_frame_rate=True), False),
        (("transcode", RATE), ("transcode", RATE), clip(rounded_times=True), False),
        (("transcode", RATE), ("transcode", RATE), clip(frame_rate=Fraction(24)), False),
        (("transcode", RATE), ("transcode", RATE), clip(frame_rate=None), False),
        (("transcode", {**MP4, **PART}), ("transcode", {"definition": 100020, **PART}), clip(), True),
        (("transcode", {**MP4, **PART}), ("transcode", {**MP4, **PART, "remove_audio": 1}), clip(), False),
        (("transcode", MP4), ("transcode", {"definition": 1010}), clip(), False),
        (("transcode", {"definition": 1010}), ("transcode", {"definition": 1010}), clip(), False),
        (("transcode", {"video_template": {"codec": "copy"}}), ("transcode", {"video_template": {"codec": "copy"}}), clip(), False),
        (("transcode", MP4), ("transcode", {"video_template": {"codec": "h265"}}), clip(), False),
        (("transcode", {"video_template": {"codec": "av1"}}), ("transcode", {"video_template": {"codec": "h265"}}), clip(), True),
        (("transcode", MP4), ("animated_graphics", {"name": "g"}), clip(), False),
        (("snapshot_by_time_offset", STILL), ("snapshot_by_time_offset", {**STILL, "ext_time_offset_set": ["3s"]}), clip(), True),
        (("transcode", MP4), ("snapshot_by_time_offset", STILL), clip(), False),
        (("transcode", MP4), ("transcode", {**MP4, "remove_audio": 1}), clip(), True),
        (("transcode", MP4), ("transcode", {**MP4, "remove_audio": 1}), clip(container="mpegts"), False),
    ],
    ids=[
        "mp4 and hls", "a watermark", "a sprite of all pictures", "a part and the whole", "a variable rate that is kept",
        "a constant rate", "a variable rate made constant repeats pictures", "times rounded repeat pictures",
        "a higher rate repeats pictures", "an unknown rate", "the same part",
        "the same part, other streams: time 0 may differ", "sound publishes early", "sound alone", "copies decode nothing",
        "a slow encoder", "two slow encoders", "a palette is made first", "stills", "stills publish early", "other streams",
        "other streams of a clock that restarts",
    ],
)  # fmt: skip
def test_which_outputs_share_a_process(first, second, media, shared):
    keys = [sharing_key(plan_output(kind, output, media), media.video) for kind, output in (first, second)]
    assert (keys[0] == keys[1] != ()) == shared


def test_what_is_packaged_is_carried_out_alone():
    """It has no command of its own that reads the source, as stills have one: their process would leave the packager out."""
    plan = plan_output("adaptive_dynamic_streaming", {"definition": 20}, clip())
    assert (plan.commands, sharing_key(plan, clip().video)) == ((), ())


@pytest.mark.parametrize(
    ("size", "inputs"),
    [((640, 360), MAX_INPUTS), ((1920, 1080), MAX_INPUTS), ((3840, 2160), 3), ((7680, 4320), 1), ((8192, 8192), 1)],
)
def test_large_pictures_have_fewer_decoders_in_a_process(size, inputs):
    assert max_inputs(clip(width=size[0], height=size[1]).video) == inputs


def test_a_plan_alone_is_as_it_was_planned():
    plan = plan_output("transcode", MP4, clip())
    assert [process.argv for process in processes({"": plan}, clip().video)] == list(plan.commands)


def test_stills_of_one_output_share_a_process():
    plan = plan_output("snapshot_by_time_offset", {"name": "s", "time_offset_set": list(range(10))}, clip())
    assert len(plan.commands) == 10
    assert [process.argv.count("-i") for process in processes({"": plan}, clip().video)] == [8, 2]


def test_costs_are_shared_by_the_size_of_the_pictures():
    plans = {
        height: plan_output("transcode", {"name": "a", "video_template": {"height": int(height)}}, clip())
        for height in ("180", "360")
    }
    [process] = processes(plans, clip().video)
    assert process.shares == pytest.approx({"180": 0.2, "360": 0.8}, rel=0.01)
