"""One subtask with real ffmpeg, real files and a real folder: what is published is right, whole, and made once."""

from __future__ import annotations

import dataclasses
import io
import re
import shlex
import subprocess
from pathlib import Path
from urllib.parse import quote

import imageio_ffmpeg
import pytest
from PIL import Image
from projects import ROOT
from servers import served

from mps_dagster.errors import (
    ContentMalformed,
    ContentUnsupported,
    InvalidConfiguration,
    MpsError,
    NoVideoMedia,
    OutputTaken,
    SourceChanged,
    SourceNotAccessible,
)
from mps_dagster.execution.break_down import break_down
from mps_dagster.execution.records import Record
from mps_dagster.settings import Settings
from mps_dagster.workflow.project import Project

MP4 = {"name": "small", "video_template": {"height": 90, "effort": "fast"}}


def stored(worker, result, number: int = 0) -> Path:
    return worker.settings.buckets_dir / result.bucket / result.main[number].key


def objects(worker) -> list[str]:
    """What a person finds among the outputs; our own records left out."""
    bucket = worker.buckets.get("outputs")
    if not bucket.root.exists():
        return []
    return [info.key for info in bucket.list() if not info.key.startswith("_mps/")]


def test_a_transcode_is_what_was_asked_for(clips, upload, made, worker):
    """Size, length, streams; md5 and size are the published file's."""
    result = made(upload(clips.video()), "transcode", MP4)[0]
    output = result.main[0]
    assert (output.width, output.height) == (160, 90)
    assert output.media.duration_s == pytest.approx(2, abs=0.1)
    assert [output.media.video.codec, output.media.audio[0].codec] == ["h264", "aac"]
    assert output.size_bytes == stored(worker, result).stat().st_size
    assert result.cpu_s > 0


def test_an_mp4_can_start_to_play_before_it_is_there(clips, upload, made, worker):
    """moov in front."""
    content = stored(worker, made(upload(clips.video()), "transcode", MP4)[0]).read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


@pytest.mark.parametrize(
    ("template", "codecs"),
    [
        pytest.param(
            {"container": "webm", "video_template": {"codec": "vp9", "effort": "fast"}}, ["vp9", "opus"], id="vp9"
        ),
        pytest.param(
            {"container": "mkv", "video_template": {"codec": "av1", "effort": "fast"}}, ["av1", "aac"], id="av1"
        ),
        pytest.param(
            {"video_template": {"codec": "h265", "effort": "fast", "bit_depth": 10}}, ["hevc", "aac"], id="h265"
        ),
        pytest.param(
            {"container": "mov", "video_template": {"codec": "copy"}, "audio_template": {"codec": "copy"}},
            ["h264", "aac"],
            id="copy",
        ),
        pytest.param({"container": "ts"}, ["h264", "aac"], id="ts"),
        pytest.param({"container": "flv", "audio_template": {"codec": "mp3"}}, ["h264", "mp3"], id="flv"),
        pytest.param({"container": "mp3"}, ["mp3"], id="mp3"),
        pytest.param({"container": "m4a"}, ["aac"], id="m4a"),
        pytest.param({"container": "flac"}, ["flac"], id="flac"),
        pytest.param({"container": "ogg"}, ["opus"], id="ogg"),
        pytest.param({"container": "wav"}, ["pcm_s16le"], id="wav"),
    ],
)
def test_every_container_and_codec_can_be_made(clips, upload, made, template, codecs):
    """And read back."""
    media = made(upload(clips.video()), "transcode", {"name": "x", **template})[0].main[0].media
    found = ([media.video.codec] if media.video else []) + [audio.codec for audio in media.audio]
    assert found == codecs
    assert media.duration_s == pytest.approx(2, abs=0.15)


@pytest.mark.parametrize("segment_type", [0, 2, 5, 7], ids=["ts", "ts ranges", "mp4 ranges", "mp4"])
def test_hls_plays_and_its_segments_begin_with_key_frames(clips, upload, made, worker, segment_type):
    """The playlist names the published segments; ffmpeg, as a player, finds all of them."""
    video = {"height": 90, "hls_time": 1, "segment_type": segment_type, "effort": "fast"}
    source = upload(clips.video(), "käse & brot #1.mp4")
    result = made(source, "transcode", {"name": "hls", "container": "hls", "video_template": video})[0]
    playlist = stored(worker, result)
    durations = re.findall(r"#EXTINF:([\d.]+)", playlist.read_text())
    assert [float(value) for value in durations] == pytest.approx([1, 1], abs=0.1)
    with served(worker.settings) as address:
        url = f"{address}/outputs/{quote(result.main[0].key)}"
        play = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", url, "-f", "null", "-"]
        played = subprocess.run(play, capture_output=True, text=True, check=False)
    assert (played.returncode, played.stderr) == (0, "")


def test_stills_are_of_the_times_asked_for(clips, upload, made, worker):
    """The clip's pictures differ, so equal pictures would be of one time; past the last frame is the last frame."""
    outputs = {"name": "s", "ext_time_offset_set": ["0s", "1s", "100%"], "format": "png"}
    result = made(upload(clips.video()), "snapshot_by_time_offset", outputs)[0]
    pictures = [stored(worker, result, number).read_bytes() for number in range(3)]
    assert len(set(pictures)) == 3
    assert Image.open(io.BytesIO(pictures[0])).size == (320, 180)


@pytest.mark.parametrize("interval", [1, 20], ids=["one pass over all frames", "few pictures"])
def test_samples_are_as_many_as_planned(clips, upload, made, interval):
    """In every way of decoding."""
    result = made(upload(clips.video(4)), "sample_snapshot", {"name": "s", "sample_interval": interval})[0]
    assert len(result.main) == 100 // interval


def test_a_sprite_s_index_matches_its_sheets(clips, upload, made, worker):
    """Each cue names a sheet that is there and a part that lies in it."""
    spec = {"name": "s", "sample_interval": 1, "row_count": 1, "column_count": 3, "width": 96, "height": 54}
    result = made(upload(clips.video(4)), "image_sprite", spec)[0]
    index = next(output for output in result.outputs if output.role == "index")
    text = (worker.settings.buckets_dir / "outputs" / index.key).read_text()
    cues = re.findall(r"(\S+)#xywh=(\d+),(\d+),(\d+),(\d+)", text)
    assert [cue[0] for cue in cues] == ["video4_imageSprite_s_0.jpg"] * 3 + ["video4_imageSprite_s_1.jpg"]
    assert [tuple(map(int, cue[1:])) for cue in cues] == [
        (0, 0, 96, 54),
        (96, 0, 96, 54),
        (192, 0, 96, 54),
        (0, 0, 96, 54),
    ]
    with Image.open(stored(worker, result)) as sheet:
        assert sheet.size == (288, 54)


@pytest.mark.parametrize("format", ["gif", "webp"])
def test_an_animation_has_its_length_and_moves(clips, upload, made, worker, format):
    """At the wanted rate."""
    spec = {"name": "a", "format": format, "fps": 5, "width": 160, "end_time_offset": 1}
    result = made(upload(clips.video()), "animated_graphics", spec)[0]
    with Image.open(stored(worker, result)) as image:
        assert image.size == (160, 90)
        assert image.n_frames == pytest.approx(5, abs=1)


def test_a_watermark_is_seen_where_it_was_put(clips, upload, made, worker):
    """A red image in the lower right corner, a white text at the left, nothing elsewhere."""
    Image.new("RGB", (40, 20), (255, 0, 0)).save(worker.settings.templates_dir / "red.png")
    marks = [
        {"coordinate_origin": "BottomRight", "image_template": {"image_content": "red.png", "width": "40px"}},
        {"type": "text", "text_content": "字 █", "y_pos": "50%", "text_template": {"font_size": "40px"}},
    ]
    result = made(upload(clips.video()), "watermark", {"name": "w", "vcrf": 5, "watermark_set": marks})[0]
    still = made(worker.fetch_source("outputs", result.main[0].key, None, "run"), "snapshot_by_time_offset",
                 {"name": "look", "ext_time_offset_set": ["1s"], "format": "png"})[0]  # fmt: skip
    with Image.open(stored(worker, still)) as image:
        red, green, blue = image.convert("RGB").getpixel((300, 170))
        assert red > 200 > 60 > max(green, blue)
        column = [sum(image.convert("RGB").getpixel((x, y))) for x in range(10, 90, 3) for y in range(90, 140, 3)]
        assert max(column) > 740


@pytest.mark.parametrize("degrees", [90, 180])
def test_pictures_of_a_rotated_clip_are_upright(clips, upload, made, degrees):
    """Sizes are swapped with the picture."""
    source = upload(clips.rotated(degrees))
    upright = (180, 320) if degrees == 90 else (320, 180)
    still = made(source, "snapshot_by_time_offset", {"name": "s", "ext_time_offset_set": ["1s"]})[0].main[0]
    video = made(source, "transcode", {"name": "v", "video_template": {"effort": "fast"}})[0].main[0]
    assert (still.width, still.height) == upright
    assert (video.width, video.height) == upright
    assert video.media.video.rotation == 0


# -------------------------------------------------------------------------------------------------- made once, whole


def test_outputs_that_stand_are_not_made_again(clips, upload, planned, worker):
    """With the same source, plan and tool; a missing or foreign object makes it new."""
    subtask = planned(upload(clips.video()), "transcode", MP4)[0]
    first = worker.perform(subtask, "run", lambda *_: None)
    again = worker.perform(subtask, "run2", lambda *_: None)
    assert (first.reused, again.reused) == (False, True)
    assert again.outputs == first.outputs
    stored(worker, first).write_bytes(b"somebody else's")
    assert not worker.perform(subtask, "run3", lambda *_: None).reused


def test_a_changed_spec_is_made_again_in_the_same_place(clips, upload, made):
    """The fingerprint is of the plan."""
    source = upload(clips.video())
    assert made(source, "transcode", MP4)[0].main[0].height == 90
    other = {**MP4, "video_template": {"height": 60, "effort": "fast"}}
    assert made(source, "transcode", other)[0].main[0].height == 60


def test_a_source_that_is_replaced_meanwhile_publishes_nothing(clips, upload, planned, worker):
    """Its new content is an upload of its own."""
    source = upload(clips.video(), "a.mp4")
    subtask = planned(source, "transcode", MP4)[0]
    worker.buckets.get("inbox").publish(clips.no_audio(), "a.mp4")
    with pytest.raises(SourceChanged):
        worker.perform(subtask, "run", lambda *_: None)
    assert objects(worker) == []


def test_a_failing_subtask_leaves_nothing_behind(clips, upload, planned, worker, monkeypatch):
    """Neither an output nor a work folder."""
    subtask = planned(upload(clips.video()), "transcode", MP4)[0]
    broken = subtask.model_copy(update={"plan": subtask.plan.model_copy(update={"commands": (("-bogus", "out.mp4"),)})})
    with pytest.raises(MpsError, match="ffmpeg"):
        worker.perform(broken, "run", lambda *_: None)
    assert objects(worker) == []
    assert [path.name for path in (worker.settings.scratch_dir / "run").iterdir()] == ["sources"]


def test_two_sources_that_differ_in_extension_only_do_not_overwrite_each_other(clips, upload, planned, made, worker):
    """MPS's default names are without it; the second one is told, and what to do."""
    made(upload(clips.video(), "clip.mp4"), "transcode", MP4)
    second = planned(upload(clips.no_audio(), "clip.mov"), "transcode", MP4)[0]
    with pytest.raises(OutputTaken, match=r"inbox/clip\.mp4") as caught:
        worker.perform(second, "run", lambda *_: None)
    assert "{inputFormat}" in caught.value.hint
    worker.buckets.get("inbox").delete("clip.mp4")
    assert not worker.perform(second, "run", lambda *_: None).reused


def test_our_own_outputs_are_known_as_ours(clips, upload, made, worker):
    """So that no sensor takes them for uploads, segments included."""
    result = made(
        upload(clips.video()), "transcode", {"name": "h", "container": "hls", "video_template": {"effort": "fast"}}
    )[0]
    bucket = worker.buckets.get("outputs")
    assert len(result.keys) == 2
    for key in result.keys:
        record = Record.model_validate_json(bucket.read(bucket.head(key).record))
        assert record.result == result


def test_of_two_outputs_on_one_path_the_first_is_made(clips, upload, planned):
    """The other one fails by itself, and says which one has the path."""
    still = {"definition": 10, "ext_time_offset_set": ["0s"]}
    other = {**still, "name": "other"}
    first, second, third = planned(
        upload(clips.video()),
        "snapshot_by_time_offset",
        still,
        other,
        {**other, "name": "third", "output_object_path": "x"},
    )
    assert (first.refusal, third.refusal) == (None, None)
    assert "output 10 is written to" in second.refusal.message
    hls = {"container": "hls", "segment_object_name": "part_{number}.{format}"}
    one, other = planned(upload(clips.video(), "b.mp4"), "transcode", {**hls, "name": "one"}, {**hls, "name": "other"})
    assert one.refusal is None
    assert "output one is written to" in other.refusal.message


def test_one_output_may_go_to_a_bucket_of_its_own(clips, upload, made, worker):
    """And so may two of one name to two buckets."""
    still = {"definition": 10, "ext_time_offset_set": ["0s"]}
    source = upload(clips.video(), "a.mp4")
    here, there = made(source, "snapshot_by_time_offset", still, {**still, "name": "there", "output_bucket": "archive"})
    assert (here.bucket, there.bucket) == ("outputs", "archive")
    for result in (here, there):
        bucket = worker.buckets.get(result.bucket)
        assert Record.model_validate_json(bucket.read(bucket.head(result.main[0].key).record)).result == result


def test_an_output_never_overwrites_its_source(clips, upload, planned):
    """Whatever the output path says."""
    source = upload(clips.video(), "a.mp4")
    task = {"output": {"bucket": "inbox", "dir": "/"}}
    subtask = planned(source, "transcode", {**MP4, "output_object_path": "{inputName}.{format}"}, **task)[0]
    assert "own source" in subtask.refusal.message


def test_the_command_that_is_shown_makes_the_same(clips, upload, made, worker, tmp_path):
    """Pasted into a shell beside the source."""
    source = clips.video()
    result = made(
        upload(source, "it's a clip.mp4"), "snapshot_by_time_offset", {"name": "s", "ext_time_offset_set": ["1s"]}
    )[0]
    (tmp_path / "it's a clip.mp4").write_bytes(source.read_bytes())
    words = shlex.split(result.commands[0])
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *words[1:]], cwd=tmp_path, check=True)
    assert (tmp_path / "shot_0000.jpg").read_bytes() == stored(worker, result).read_bytes()


# -------------------------------------------------------------------------------------------------- odd and bad input


@pytest.mark.parametrize(
    "key", ["a b.mp4", "-y.mp4", "100%.mp4", "#1 'q\" $(id).mp4", "line\nbreak.mp4", "小电影🎬.mp4", "a..b...mp4"]
)
def test_any_file_name_comes_through(clips, upload, made, worker, key):
    """It is never on a command line; the outputs bear it."""
    result = made(upload(clips.video(), key), "snapshot_by_time_offset", {"name": "s", "ext_time_offset_set": ["0s"]})[
        0
    ]
    assert stored(worker, result).is_file()
    assert result.main[0].key.startswith("out/" + key.removesuffix(".mp4"))


def test_a_clip_of_one_frame_gives_all_its_pictures(clips, upload, made):
    """Each time is that frame's."""
    source = upload(clips.one_frame())
    assert len(made(source, "sample_snapshot", {"definition": 10})[0].main) == 10
    assert len(made(source, "image_sprite", {"definition": 10})[0].main) == 1
    assert (
        len(made(source, "snapshot_by_time_offset", {"name": "s", "ext_time_offset_set": ["0s", "100%"]})[0].main) == 2
    )


def test_sound_without_pictures_can_be_transcoded_but_not_photographed(clips, upload, made, worker, planned):
    """With MPS's code; its siblings are not held up."""
    source = upload(clips.audio_only("m4a"))
    assert made(source, "transcode", {"definition": 1010})[0].main[0].media.audio[0].codec == "mp3"
    with pytest.raises(NoVideoMedia) as caught:
        worker.perform(planned(source, "sample_snapshot", {"definition": 10})[0], "run", lambda *_: None)
    assert caught.value.code == "SourceFileError.NoVideoMedia"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "error", "says"),
    [
        pytest.param(b"", ContentMalformed, "empty", id="empty"),
        pytest.param(b"this is no film\n" * 50, ContentMalformed, "text", id="text"),
        pytest.param(
            b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile:///etc/passwd\n",
            ContentUnsupported,
            "playlist",
            id="playlist",
        ),
        pytest.param(b"ffconcat version 1.0\nfile /etc/passwd\n", MpsError, "list of files", id="concat"),
        pytest.param(bytes(range(256)) * 40, ContentMalformed, "media", id="noise"),
    ],
)
def test_what_is_no_media_is_refused_with_mps_s_code(upload, tmp_path, content, error, says):
    """Before anything else is done with it."""
    (tmp_path / "x.mp4").write_bytes(content)
    with pytest.raises(error, match=says) as caught:
        upload(tmp_path / "x.mp4")
    assert caught.value.code.startswith("SourceFileError")


def test_a_source_that_vanished_is_reported(worker):
    """Between the event and the read."""
    worker.settings.buckets_dir.joinpath("inbox").mkdir(parents=True)
    with pytest.raises(SourceNotAccessible):
        worker.fetch_source("inbox", "gone.mp4", None, "run")


def test_a_source_that_is_too_big_is_refused(clips, upload, worker, monkeypatch):
    """Before it is fetched, with the setting that says so."""
    small = worker.settings.model_copy(update={"max_source_bytes": 10})
    object.__setattr__(worker, "settings", small)
    with pytest.raises(ContentUnsupported, match="bytes"):
        upload(clips.video())


def test_a_watermark_image_that_is_not_there_fails_its_output_alone(clips, upload, planned, worker):
    """The sibling is made."""
    marks = {"watermark_set": [{"image_template": {"image_content": "none.png"}}]}
    bad, good = planned(upload(clips.video()), "transcode", {"name": "bad", **marks}, MP4)
    with pytest.raises(InvalidConfiguration, match=r"none\.png"):
        worker.perform(bad, "run", lambda *_: None)
    assert worker.perform(good, "run", lambda *_: None).main


def test_the_demo_takes_also_a_clip_of_a_second(worker, upload, clips):
    """No time in it lies beyond what somebody may try it with."""
    [demo] = Project.load(Settings(project=ROOT)).workflows
    source = upload(clips.video(1))
    demo_worker = dataclasses.replace(worker, settings=worker.settings.model_copy(update={"project": ROOT}))
    for task in demo.tasks.values():
        planned = break_down(task, source, demo_worker)
        assert [subtask.refusal for subtask in planned if subtask.refusal] == []
