"""Sources whose streams begin, end or change apart: every output is as long as what it is made of, and in step."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from readings import (
    encoded_time_s,
    first_sound_s,
    hertz,
    pictures,
    presentation_times_s,
    read_frames,
    read_image,
    sound,
)

from mps_dagster.errors import ContentUnsupported, InvalidConfiguration, InvalidTimeOffset
from mps_dagster.media.probe import probe

FAST = {"effort": "fast", "vcrf": 20}


@pytest.fixture
def output(made, upload, worker):
    """Make one output of a clip and return its file."""

    def output(clip: Path, kind: str, spec: dict, number: int = 0) -> Path:
        result = made(upload(clip), kind, {"name": "x", **spec})[0]
        return worker.settings.buckets_dir / result.bucket / result.main[number].key

    return output


def playlist_s(path: Path) -> float:
    return sum(float(value) for value in re.findall(r"#EXTINF:([\d.]+)", path.read_text()))


def hls_pictures(playlist: Path) -> list[tuple[float, Image.Image]]:
    """The pictures of all segments as one stream."""
    names = [line for line in playlist.read_text().splitlines() if line and not line.startswith("#")]
    whole = playlist.with_name("whole.ts")
    whole.write_bytes(b"".join((playlist.parent / name).read_bytes() for name in names))
    return list(pictures(whole))


# ------------------------------------------------------------------ unequal lengths


@pytest.mark.parametrize(
    ("clip", "spec", "seconds"),
    [
        pytest.param(("unequal", 5, 2), {"container": "mp3"}, 2, id="mp3 of a film whose sound ends early"),
        pytest.param(("unequal", 5, 2), {"container": "m4a"}, 2, id="m4a"),
        pytest.param(("unequal", 5, 2), {"remove_video": 1}, 2, id="sound alone"),
        pytest.param(("unequal", 5, 2), {}, 5, id="both: as long as the picture"),
        pytest.param(("unequal", 2, 5), {"remove_audio": 1}, 2, id="picture alone"),
        pytest.param(("unequal", 2, 5), {}, 5, id="both: as long as the sound"),
        pytest.param(("unequal", 2, 5), {"start_time_offset": 3}, 2, id="a part that has only sound"),
        pytest.param(("unequal", 5, 2), {"container": "mp3", "start_time_offset": -1}, 1, id="the last second of the sound"),
        pytest.param(("unequal_tracks",), {"container": "mp3"}, 2, id="the first of two tracks"),
        pytest.param(("unequal_tracks",), {"container": "mkv"}, 6, id="both tracks"),
        pytest.param(("unequal_tracks",), {"container": "m4a", "audio_template": {"stream_selects": [1]}}, 6, id="the second"),
    ],
)  # fmt: skip
def test_an_output_is_as_long_as_the_streams_it_is_made_of(clips, output, clip, spec, seconds):
    """Not as the file that it comes from."""
    name, *args = clip
    template = {"video_template": FAST, **spec}
    assert probe(output(getattr(clips, name)(*args), "transcode", template)).duration_s == pytest.approx(
        seconds, abs=0.1
    )


def test_hls_goes_on_to_the_end_of_the_sound(clips, output):
    """A player stops where the playlist does. The last picture stands meanwhile."""
    playlist = output(clips.unequal(2, 7), "transcode", {"container": "hls", "video_template": {**FAST, "hls_time": 2}})
    assert playlist_s(playlist) == pytest.approx(7, abs=0.1)
    shown = hls_pictures(playlist)
    assert shown[-1][0] == pytest.approx(7, abs=0.1)
    assert encoded_time_s(shown[-1][1]) == pytest.approx(1.96, abs=0.1)


def test_a_copy_to_hls_that_would_end_early_is_refused(clips, output):
    """Nothing can be added to copied pictures."""
    spec = {"container": "hls", "video_template": {"codec": "copy"}, "audio_template": {"codec": "copy"}}
    with pytest.raises(InvalidConfiguration, match=r"sound and no picture(.|\n)*name a video codec"):
        output(clips.unequal(2, 7), "transcode", spec)


# ------------------------------------------------------------------ a late beginning

LATE = ["mp4", "mkv", "ts"]


@pytest.mark.parametrize("extension", LATE)
def test_sound_and_picture_keep_their_offset(clips, output, extension):
    """The first picture comes 2 s after the sound, and says so."""
    path = output(clips.late_picture(extension), "transcode", {"video_template": FAST})
    at, picture = next(pictures(path))
    assert at == pytest.approx(2, abs=0.05)
    assert encoded_time_s(picture) == pytest.approx(2, abs=0.1)
    assert first_sound_s(sound(path)) == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("extension", LATE)
@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        pytest.param("transcode", {"remove_audio": 1, "video_template": FAST}, id="mp4 without sound"),
        pytest.param("animated_graphics", {"fps": 5}, id="gif"),
        pytest.param("animated_graphics", {"fps": 5, "format": "webp", "width": 160}, id="webp"),
    ],
)
def test_pictures_alone_begin_with_the_first_one(clips, output, extension, kind, spec):
    """No 2 s of nothing."""
    path = output(clips.late_picture(extension), kind, spec)
    media = probe(path)
    assert media.duration_s == pytest.approx(4, abs=0.25)
    assert media.start_s == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("extension", LATE)
def test_hls_is_black_until_the_first_picture(clips, output, extension):
    """Its segments cover the sound from 0 s on."""
    spec = {"container": "hls", "video_template": {**FAST, "hls_time": 2}}
    playlist = output(clips.late_picture(extension), "transcode", spec)
    assert playlist_s(playlist) == pytest.approx(6, abs=0.1)
    shown = hls_pictures(playlist)
    assert shown[10][1].convert("L").getextrema()[1] < 5
    at, picture = shown[-1]
    assert encoded_time_s(picture) == pytest.approx(at, abs=0.1)


@pytest.mark.parametrize("extension", LATE)
def test_an_index_of_small_pictures_begins_at_0(clips, upload, made, worker, extension):
    """Players look a time up from their bar's left end on; the first picture serves until the second one's time."""
    result = made(upload(clips.late_picture(extension)), "image_sprite", {"name": "x", "sample_interval": 1})[0]
    index = next(entry for entry in result.outputs if entry.role == "index")
    text = (worker.settings.buckets_dir / result.bucket / index.key).read_text()
    cues = [line.split(" --> ")[0] for line in text.splitlines() if "-->" in line]
    assert cues[0] == "00:00:00.000"
    assert [float(cue[6:]) for cue in cues] == pytest.approx([0, 3, 4, 5], abs=0.03)


@pytest.mark.parametrize("extension", LATE)
@pytest.mark.parametrize(
    ("start", "end", "seconds", "first_s"),
    [
        pytest.param(1, 0, 5, 1, id="from before the first picture"),
        pytest.param(1, 5, 4, 1, id="from before the first picture, not to the end"),
        pytest.param(0, 3, 3, 2, id="not to the end"),
        pytest.param(3, 5, 2, 0, id="in the middle"),
        pytest.param(-2, 0, 2, 0, id="the end"),
    ],
)
def test_a_part_counts_on_the_sources_clock(clips, output, extension, start, end, seconds, first_s):
    """Whatever the streams begin with; no sound of it is lost."""
    spec = {"video_template": FAST, "start_time_offset": start, "end_time_offset": end}
    path = output(clips.late_picture(extension), "transcode", spec)
    assert probe(path).duration_s == pytest.approx(seconds, abs=0.07)
    shown = list(pictures(path))
    assert shown[0][0] == pytest.approx(first_s, abs=0.05)
    assert first_sound_s(sound(path)) < 0.05
    # The end counts from the sound's, 6 s.
    from_s = start if start >= 0 else 6 + start
    for at, picture in shown[::10]:
        assert encoded_time_s(picture) == pytest.approx(from_s + at, abs=0.15)


def test_a_part_before_the_first_picture_is_sound_alone(clips, output):
    media = probe(output(clips.late_picture(), "transcode", {"video_template": FAST, "end_time_offset": 1}))
    assert (media.video, len(media.audio), media.duration_s) == (None, 1, pytest.approx(1, abs=0.05))


def test_a_part_in_which_nothing_plays_is_refused(clips, output):
    """The sound is over, and the picture has not begun."""
    with pytest.raises(InvalidTimeOffset, match="nothing plays from 2"):
        output(clips.gap(), "transcode", {"video_template": FAST, "start_time_offset": 2, "end_time_offset": 3})


# ------------------------------------------------------------------ the last picture


@pytest.mark.parametrize(("point", "own"), [("2.5s", 1.96), ("3s", 1.96), ("100%", 1.96), ("1s", 1.0), ("0s", 0)])
def test_the_last_picture_lasts_to_the_end_of_the_file(clips, output, point, own):
    """Any time within the length that we report gives a picture."""
    path = output(clips.unequal(2, 3), "snapshot_by_time_offset", {"ext_time_offset_set": [point], "format": "png"})
    assert encoded_time_s(read_image(path)) == pytest.approx(own, abs=0.1)


def test_a_time_past_the_end_of_the_file_is_refused(clips, output):
    with pytest.raises(InvalidTimeOffset, match="past the end of the source"):
        output(clips.unequal(2, 3), "snapshot_by_time_offset", {"ext_time_offset_set": ["4s"]})


@pytest.mark.parametrize("extension", ["gif", "apng", "webp"])
def test_an_animation_has_a_picture_at_every_time(clips, output, extension):
    """Its demuxer cannot seek; it is decoded from its beginning."""
    spec = {"ext_time_offset_set": ["0s", "0.5s", "100%"], "format": "png"}
    clip = clips.brightening_animation(extension)
    for number, frame in enumerate([0, 5, 9]):
        path = output(clip, "snapshot_by_time_offset", spec, number)
        # GIF's greys are not the clip's.
        assert encoded_time_s(read_image(path)) == pytest.approx(encoded_time_s(read_frames(clip)[frame]), abs=0.03)


# ------------------------------------------------------------------ uneven times


@pytest.mark.parametrize(("container", "within_s"), [("mp4", 0.001), ("mkv", 0.001), ("webm", 0.002), ("ts", 0.002)])
def test_every_picture_of_an_uneven_video_keeps_its_time(clips, output, container, within_s):
    """Rounded to the average rate, some would fall together and be dropped."""
    codec = "vp9" if container == "webm" else "h264"
    path = output(clips.jittered(), "transcode", {"container": container, "video_template": {**FAST, "codec": codec}})
    before, after = presentation_times_s(clips.jittered()), presentation_times_s(path)
    assert len(after) == len(before) == 240
    assert [b - before[0] for b in before] == pytest.approx([a - after[0] for a in after], abs=within_s)


def test_times_that_a_coarse_clock_rounded_are_made_even_again(clips, output):
    """Matroska's milliseconds of 23.976 pictures a second."""
    after = presentation_times_s(output(clips.milliseconds(), "transcode", {"video_template": FAST}))
    assert after == pytest.approx([n * 1001 / 24000 for n in range(len(after))], abs=0.0001)


def test_a_variable_rate_stays_as_it_is(clips, output):
    before, after = (
        presentation_times_s(clips.variable_rate()),
        presentation_times_s(output(clips.variable_rate(), "transcode", {"video_template": FAST})),
    )
    assert after == pytest.approx(before, abs=0.001)


# ------------------------------------------------------------------ changes in mid-stream

CHANGES = [
    pytest.param("640x360", "ts", id="larger"),
    pytest.param("160x90", "ts", id="smaller"),
    pytest.param("320x240", "ts", id="of another shape"),
    pytest.param("640x360", "mkv", id="in Matroska"),
]


@pytest.mark.parametrize(("second", "extension"), CHANGES)
def test_a_video_that_changes_its_size_keeps_its_times(clips, output, second, extension):
    """Every picture says the time at which it is shown, and all are there."""
    path = output(clips.changing_picture(second, extension), "transcode", {"video_template": FAST})
    shown = list(pictures(path))
    assert len(shown) == pytest.approx(150, abs=3)
    assert {picture.size for _, picture in shown} == {(320, 180)}
    for at, picture in shown[::10]:
        assert encoded_time_s(picture) == pytest.approx(at, abs=0.15)


@pytest.mark.parametrize(("second", "extension"), CHANGES)
@pytest.mark.parametrize("interval", [1, 2])
def test_samples_across_a_change_are_of_their_times(clips, upload, made, worker, second, extension, interval):
    """None repeats."""
    source = upload(clips.changing_picture(second, extension))
    spec = {"name": "x", "sample_type": "Time", "sample_interval": interval, "format": "png"}
    result = made(source, "sample_snapshot", spec)[0]
    own = [encoded_time_s(read_image(worker.settings.buckets_dir / "outputs" / shot.key)) for shot in result.main]
    assert own == pytest.approx([interval * n for n in range(6 // interval)], abs=0.15)


@pytest.mark.parametrize(("second", "extension"), CHANGES)
def test_a_sprite_across_a_change_shows_every_time(clips, output, second, extension):
    """One sheet of 6 cells of one size."""
    spec = {"sample_interval": 1, "row_count": 1, "column_count": 6, "format": "png", "width": 64, "height": 36}
    sheet = read_image(output(clips.changing_picture(second, extension), "image_sprite", spec))
    cells = [sheet.crop((64 * n, 0, 64 * n + 64, 36)) for n in range(6)]
    assert [encoded_time_s(cell) for cell in cells] == pytest.approx([0, 1, 2, 3, 4, 5], abs=0.15)


@pytest.mark.parametrize(("second", "extension"), CHANGES)
@pytest.mark.parametrize("format", ["gif", "webp"])
def test_an_animation_across_a_change_goes_on(clips, output, second, extension, format):
    spec = {"fps": 2, "format": format, "width": 160}
    pictures = read_frames(output(clips.changing_picture(second, extension), "animated_graphics", spec))
    assert [encoded_time_s(picture) for picture in pictures] == pytest.approx([n / 2 for n in range(12)], abs=0.2)


def test_nothing_is_stretched_by_a_change_of_shape(clips, output):
    """4:3 lies between black borders in 16:9."""
    path = output(
        clips.changing_picture("320x240"), "snapshot_by_time_offset", {"ext_time_offset_set": ["4s"], "format": "png"}
    )
    picture = read_image(path).convert("L")
    assert picture.size == (320, 180)
    assert (picture.getpixel((20, 90)), picture.getpixel((300, 90))) == (0, 0)
    assert picture.getpixel((45, 90)) > 60


def test_a_watermark_stays_over_a_change(clips, output):
    mark = {"type": "text", "text_content": "W", "text_template": {"font_size": "60px", "font_color": "0xFF0000"}}
    path = output(clips.changing_picture(), "watermark", {"watermark_set": [mark]})
    for at, picture in list(pictures(path))[::25]:
        red, green, _ = np.moveaxis(np.asarray(picture.crop((0, 0, 80, 80)), int), 2, 0)
        assert (red - green).max() > 60, f"no watermark at {at} s"


SOUND_CHANGES = [
    pytest.param("-ar 44100", "-ar 48000", "aac", id="rate"),
    pytest.param("-ac 1", "-ac 2", "aac", id="mono to stereo"),
    pytest.param("-ac 2", "-ac 6", "ac3", id="2.0 to 5.1"),
]


@pytest.mark.parametrize(("first", "second", "codec"), SOUND_CHANGES)
@pytest.mark.parametrize("spec", [{"container": "mp3"}, {"container": "wav"}, {}], ids=["mp3", "wav", "mp4"])
def test_sound_that_changes_its_format_goes_on_in_step(clips, output, first, second, codec, spec):
    """Each tone at its own time, nothing twice."""
    path = output(clips.changing_sound(first, second, codec), "transcode", {"video_template": FAST, **spec})
    heard = sound(path)
    assert len(heard) / 16_000 == pytest.approx(6, abs=0.15)
    assert [hertz(heard[at * 16_000 : (at + 1) * 16_000]) for at in (1, 4)] == [440, 880]
    assert probe(path).duration_s == pytest.approx(6, abs=0.15)


def test_pictures_go_on_where_the_sound_changes(clips, output):
    """The sound's new filters do not start the picture's anew."""
    path = output(clips.changing_sound("-ar 44100", "-ar 48000"), "transcode", {"video_template": {**FAST, "fps": 10}})
    shown = list(pictures(path))
    assert len(shown) == pytest.approx(60, abs=2)
    for at, picture in shown[::10]:
        assert encoded_time_s(picture) == pytest.approx(at, abs=0.2)


# ------------------------------------------------------------------ a missing beginning


def test_a_stream_cut_out_of_a_recording_begins_with_its_first_whole_picture(clips, upload):
    """What leans on a key frame that is not there is no picture."""
    video = upload(clips.headless()).media.video
    assert video.start_s == pytest.approx(video.first_packet_s + 0.5, abs=0.03)
    assert video.duration_s == pytest.approx(4, abs=0.03)


@pytest.mark.parametrize(
    ("kind", "spec", "seconds"),
    [
        pytest.param("animated_graphics", {"fps": 5}, 4, id="gif"),
        pytest.param("transcode", {"container": "hls", "video_template": FAST}, 4.5, id="hls"),
        pytest.param("transcode", {"video_template": FAST}, 4.5, id="mp4"),
        pytest.param("transcode", {"video_template": FAST, "remove_audio": 1}, 4, id="mp4 without sound"),
    ],
)
def test_a_stream_without_its_first_key_frame_is_made_from_the_next_one_on(clips, output, kind, spec, seconds):
    path = output(clips.headless(), kind, spec)
    length_s = playlist_s(path) if path.suffix == ".m3u8" else probe(path).duration_s
    assert length_s == pytest.approx(seconds, abs=0.3)


def test_its_sound_is_in_step(clips, output, upload):
    """The first picture comes as long after the first sound as it did in the recording."""
    path = output(clips.headless(), "transcode", {"video_template": FAST})
    late_s = upload(clips.headless()).media.video.start_s
    at, picture = next(pictures(path))
    assert at == pytest.approx(late_s, abs=0.02)
    assert encoded_time_s(picture) == pytest.approx(2, abs=0.1)
    assert first_sound_s(sound(path)) == pytest.approx(0, abs=0.05)


# ------------------------------------------------------------------ still pictures


@pytest.mark.parametrize("extension", ["png", "jpg", "webp"])
@pytest.mark.parametrize("kind", ["transcode", "animated_graphics", "watermark"])
def test_a_still_picture_is_refused_as_one(clips, output, extension, kind):
    """With the tasks that take one."""
    text = {"watermark_set": [{"type": "text", "text_content": "x"}]} if kind == "watermark" else {}
    with pytest.raises(ContentUnsupported, match=r"is a picture(.|\n)*snapshot_by_time_offset") as raised:
        output(clips.image(extension), kind, text)
    assert raised.value.code == "SourceFileError.ContentUnsupported"


@pytest.mark.parametrize(
    ("kind", "spec"),
    [("snapshot_by_time_offset", {"ext_time_offset_set": ["0s"]}), ("sample_snapshot", {}), ("image_sprite", {})],
)
def test_the_tasks_that_are_named_take_a_still_picture(clips, output, kind, spec):
    assert read_image(output(clips.image("png"), kind, spec)).size[0] > 0
