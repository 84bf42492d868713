"""Adaptive sets from real clips: what is in the files, read back independently of the code that wrote them."""

from __future__ import annotations

import re
from pathlib import Path

import av
import m3u8
import pytest
from clips import pattern, tone

from mps_dagster.execution.assemble import assemble
from mps_dagster.execution.parts import PREFIX, PartMissing
from mps_dagster.execution.records import record_key
from mps_dagster.execution.subtask import Members
from mps_dagster.streaming.packaging import SegmentKey
from mps_dagster.tasks.result import SubtaskResult

pytestmark = pytest.mark.slow

KINDS = [
    "ts-segment", "ts-byterange", "mp4-segment", "mp4-byterange", "ts-packed-audio", "mp4-packed-audio", "ts-ts-segment",
    "ts-ts-byterange", "mp4-mp4-segment", "mp4-mp4-byterange", "ts-packed-audio-byterange", "mp4-packed-audio-byterange",
]  # fmt: skip
SOUND = {"codec": "aac", "bitrate": 64, "audio_channel": 1}


def streams(*heights: int, **video) -> list[dict]:
    picture = {"effort": "fast", "hls_time": 2, "fps": 25}
    return [
        {"video": {**picture, "bitrate": 2 * height, "height": height, **video}, "audio": SOUND} for height in heights
    ]


def hls(kind: str = "mp4-mp4-segment", *heights: int, **more) -> dict:
    infos = {"stream_infos": streams(*(heights or (90, 180)), **more.pop("video", {}))}
    return {"name": "s", "format": "HLS", "segment_type": kind, **infos, **more}


@pytest.fixture
def outputs(worker) -> Path:
    return worker.settings.buckets_dir / "outputs"


@pytest.fixture
def ladder(made, outputs):
    """Make a set; its result and the path of the first manifest."""

    def ladder(source, output: dict) -> tuple[SubtaskResult, Path]:
        [*_, result] = made(source, "adaptive_dynamic_streaming", output)
        return result, outputs / result.main[0].key

    return ladder


def variants(master: Path) -> list[Path]:
    return [master.parent / item.uri for item in m3u8.load(str(master)).playlists]


def packets(playlist: Path, kind: str = "video") -> list[tuple[float, bool]]:
    """Time and whether it is a key frame, in the order of time."""
    options = {"allowed_extensions": "ALL", "extension_picky": "0"}
    with av.open(str(playlist), options=options) as container:
        stream = container.streams.get({kind: 0})[0]
        read = [
            (float(packet.pts * packet.time_base), packet.is_keyframe)
            for packet in container.demux(stream)
            if packet.pts is not None
        ]
    return sorted(read)


def starts(playlist: Path) -> list[float]:
    lengths = [segment.duration for segment in m3u8.load(str(playlist)).segments]
    return [sum(lengths[:number]) for number in range(len(lengths))]


@pytest.mark.parametrize("kind", KINDS)
def test_every_segment_type_has_all_pictures_and_key_frames_where_segments_begin(kind, upload, ladder, clips):
    result, master = ladder(upload(clips.video(5)), hls(kind))
    playlists = variants(master)
    assert len(playlists) == 2
    begins = [starts(playlist) for playlist in playlists]
    assert begins[0] == begins[1] == [0, 2, 4]
    for playlist in playlists:
        read = packets(playlist)
        assert len(read) == 125
        keys = {round(at - read[0][0], 3) for at, key in read if key}
        assert {0, 2, 4} <= keys
    assert result.files == len(result.keys)


@pytest.mark.parametrize("kind", ["ts-segment", "mp4-mp4-segment"])
def test_the_master_is_true(kind, upload, ladder, clips, outputs):
    """Rates as measured on the segments; codecs, sizes and frame rate as encoded."""
    _, master = ladder(upload(clips.video(5)), hls(kind, 90, 180))
    parsed = m3u8.load(str(master))
    for item, size in zip(parsed.playlists, ((160, 90), (320, 180)), strict=True):
        info = item.stream_info
        assert (info.resolution, info.frame_rate, info.video_range) == (size, 25.0, "SDR")
        assert re.fullmatch(r"avc1\.[0-9a-f]{6},mp4a\.40\.2", info.codecs)
        sizes = [(master.parent / one.uri).stat().st_size for one in m3u8.load(str(master.parent / item.uri)).segments]
        apart = 0 if kind == "ts-segment" else 64_000
        assert info.bandwidth >= max(sizes) * 8 / 2
        assert info.average_bandwidth == pytest.approx(sum(sizes) * 8 / 5 + apart, rel=0.25)
        assert info.average_bandwidth <= info.bandwidth


def test_a_frame_rate_may_be_a_fraction(upload, ladder, clips):
    """As television has it; both manifests name it, and every picture has its time."""
    output = hls("mp4-mp4-segment", also_mpeg_dash=1, video={"fps": 30000, "fps_denominator": 1001})
    _, master = ladder(upload(clips.video(5)), output)
    assert {item.stream_info.frame_rate for item in m3u8.load(str(master)).playlists} == {29.97}
    assert set(re.findall(r'frameRate="([^"]*)"', master.with_suffix(".mpd").read_text())) == {"30000/1001"}
    times = [at for at, _ in packets(variants(master)[0])]
    assert len(times) == 150
    assert times[-1] - times[0] == pytest.approx(149 * 1001 / 30000, abs=0.001)


def test_hls_and_dash_are_of_the_same_files(upload, ladder, clips):
    output = hls("mp4-mp4-segment", also_mpeg_dash=1, object_number_format={"initial_value": 1, "min_length": 3})
    result, master = ladder(upload(clips.video(5)), output)
    mpd = (master.parent / Path(result.main[1].key).name).read_text()
    assert [Path(one.key).suffix for one in result.main] == [".m3u8", ".mpd"]
    for number in range(3):
        pattern = re.search(rf'media="([^"]*_{number}_\$Number%03d\$\.m4s)" startNumber="1"', mpd)
        assert pattern
        assert (master.parent / pattern[1].replace("$Number%03d$", "001")).is_file()
        assert f'initialization="{pattern[1].replace("_$Number%03d$.m4s", "_init.mp4")}"' in mpd


def test_sound_is_encoded_once_and_each_track_is_a_choice(upload, ladder, clips):
    result, master = ladder(upload(clips.languages()), hls())
    assert [media.language for media in m3u8.load(str(master)).media] == ["eng", "jpn"]
    assert [media.default for media in m3u8.load(str(master)).media] == ["NO", "YES"]
    assert len([part for part in result.parts if part.id.startswith("p0_sound")]) == 2


def test_a_picture_that_begins_late_stays_with_its_sound(upload, ladder, clips):
    """Black comes first; the picture's own first frame is at 1 s in every rendition, and sound at 0 s."""
    _, master = ladder(upload(clips.late(clips.video())), hls())
    for playlist in variants(master):
        read = packets(playlist)
        assert read[0][0] == pytest.approx(0, abs=0.05)
        assert read[-1][0] - read[0][0] == pytest.approx(2.96, abs=0.05)
    assert _luma(variants(master)[1], 0.5) < 20
    assert _luma(variants(master)[1], 1.5) > 40


def _luma(playlist: Path, at_s: float) -> float:
    with av.open(str(playlist), options={"allowed_extensions": "ALL", "extension_picky": "0"}) as container:
        first = None
        for frame in container.decode(video=0):
            first = frame.time if first is None else first
            if frame.time - first >= at_s:
                plane = frame.reformat(format="gray").to_ndarray()
                return float(plane.mean())
    raise AssertionError(f"no picture at {at_s} s")


SOURCES = [
    ("rotated", lambda clips: clips.rotated(90), [(90, 160), (180, 320)]),
    ("silent", lambda clips: clips.no_audio(), [(160, 90), (320, 180)]),
    ("variable rate", lambda clips: clips.variable_rate(), [(160, 90), (320, 180)]),
    ("one frame", lambda clips: clips.one_frame(), [(160, 90), (320, 180)]),
]


@pytest.mark.parametrize(("name", "clip", "sizes"), SOURCES, ids=[name for name, *_ in SOURCES])
def test_any_source_gets_a_ladder(name, clip, sizes, upload, ladder, clips):
    output = hls("mp4-mp4-segment", video={"fps": 0}, disable_higher_video_resolution=1)
    _, master = ladder(upload(clip(clips)), output)
    assert [item.stream_info.resolution for item in m3u8.load(str(master)).playlists] == sizes
    begins = [starts(playlist) for playlist in variants(master)]
    assert begins[0] == begins[1]


@pytest.mark.parametrize("kind", ["mp4-mp4-segment", "mp4-segment", "ts-segment"])
def test_segments_of_a_variable_rate_begin_where_the_playlist_says(kind, upload, ladder, clips):
    """In every segment, the rate changes within it."""
    uneven = (
        "-vf",
        r"select='if(lt(mod(t\,3)\,1.5),1,not(mod(n,7)))'",
        "-fps_mode",
        "vfr",
        "-c:v",
        "libx264",
        "-g",
        "5",
    )
    clip = clips._ffmpeg(
        "adaptive_vfr.mp4", *pattern(seconds=10), *tone(10), *uneven, "-pix_fmt", "yuv420p", "-c:a", "aac"
    )
    _, master = ladder(upload(clip), hls(kind, video={"fps": 0}))
    for playlist in variants(master):
        read = packets(playlist)
        keys = [at - read[0][0] for at, key in read if key]
        begins = starts(playlist)
        assert len(begins) >= 4
        nearest = [min(keys, key=lambda key, at=at: abs(key - at)) for at in begins]
        assert begins == pytest.approx(nearest, abs=0.002)


@pytest.mark.parametrize("kind", ["ts-segment", "mp4-mp4-segment", "ts-packed-audio", "mp4-mp4-byterange"])
def test_sound_alone_gets_variants_of_sound(kind, upload, ladder, clips):
    _, master = ladder(upload(clips.audio_only()), hls(kind))
    [variant] = m3u8.load(str(master)).playlists
    assert variant.stream_info.codecs == "mp4a.40.2"
    read = packets(master.parent / variant.uri, "audio")
    assert read[-1][0] - read[0][0] == pytest.approx(2, abs=0.1)


def test_dash_alone_publishes_no_playlists(upload, ladder, clips):
    result, mpd = ladder(upload(clips.video(5)), {**hls(), "format": "MPEG-DASH", "segment_type": "mp4-byterange"})
    assert mpd.suffix == ".mpd"
    assert sorted(path.suffix for path in mpd.parent.iterdir()) == [".mp4", ".mp4", ".mp4", ".mpd"]
    assert mpd.read_text().count("<BaseURL>") == 3
    assert result.tracks[0].count == 1


def test_a_watermark_is_in_every_rendition(upload, ladder, clips):
    mark = {
        "type": "text",
        "x_pos": "10%",
        "y_pos": "10%",
        "text_content": "■■■■",
        "text_template": {"font_color": "0xFF0000", "font_size": "40px"},
    }
    source = upload(clips.video())
    _, plain = ladder(source, {**hls(), "name": "plain"})
    _, marked = ladder(source, {**hls(), "name": "marked", "watermark_set": [mark]})
    for one, other in zip(variants(plain), variants(marked), strict=True):
        assert abs(_luma(one, 1) - _luma(other, 1)) > 2


class TestParts:
    def test_a_rendition_is_made_again_alone(self, worker, planned, upload, clips, outputs):
        """Others stand in the bucket, in whatever run they were made."""
        source = upload(clips.video())
        subtasks = planned(source, "adaptive_dynamic_streaming", hls())
        *parts, whole = subtasks
        results = [worker.perform(part, "run", lambda *_: None) for part in parts]
        worker.buckets.get("outputs").delete(results[0].outputs[0].key)
        with pytest.raises(PartMissing, match="picture_0"):
            worker.perform(whole, "run", lambda *_: None)
        again = [worker.perform(part, "run2", lambda *_: None) for part in parts]
        assert [result.reused for result in again] == [False, True, True]
        assert worker.perform(whole, "run2", lambda *_: None).main

    def test_nothing_is_made_while_the_set_stands_and_its_parts_are_gone(self, worker, planned, upload, clips, outputs):
        source = upload(clips.video())
        subtasks = planned(source, "adaptive_dynamic_streaming", hls())
        results = [worker.perform(subtask, "run", lambda *_: None) for subtask in subtasks]
        members = _members(subtasks, source)
        result = assemble(members, "run", results, worker.buckets)
        assert [one.id for one in result.results] == ["w0_s"]
        assert list((outputs / PREFIX).glob("*")) == []
        assert not (outputs / record_key(results[0].outputs[0].key)).exists()
        again = [worker.perform(subtask, "run2", lambda *_: None) for subtask in subtasks]
        assert all(one.reused for one in again)
        assemble(members, "run2", again, worker.buckets)

    def test_outputs_with_equal_renditions_share_them(self, planned, upload, clips):
        infos = streams(90, 180)
        one = {"name": "one", "format": "HLS", "segment_type": "mp4-mp4-segment", "stream_infos": infos}
        other = {"name": "other", "format": "MPEG-DASH", "stream_infos": infos}
        subtasks = planned(upload(clips.video()), "adaptive_dynamic_streaming", one, other)
        assert [subtask.id for subtask in subtasks if subtask.is_part] == [
            "p0_picture_0",
            "p0_picture_1",
            "p0_sound_0_1",
        ]
        assert [len(subtask.wholes) for subtask in subtasks if subtask.is_part] == [2, 2, 2]
        assert [subtask.id for subtask in subtasks if subtask.parts] == ["w0_one", "w1_other"]

    def test_the_result_tells_how_each_was_made(self, upload, ladder, clips):
        result, _ = ladder(upload(clips.video()), hls())
        assert [one.id for one in result.parts] == ["p0_picture_0", "p0_picture_1", "p0_sound_0_1"]
        assert all(one.commands[0].startswith("ffmpeg ") for one in result.parts)
        assert result.commands[0].startswith("packager ")


def _members(subtasks, source) -> Members:
    from mps_dagster.workflow.model import Task

    task = Task(name="task", type="adaptive_dynamic_streaming", outputs=(hls(),))
    parts = tuple(one.id for one in subtasks if one.is_part)
    return Members(workflow="w", task=task, source=source, ids=tuple(one.id for one in subtasks), parts=parts)


LINES = "1\n00:00:00,500 --> 00:00:01,500\nHello <i>you</i>\n\n2\n00:00:03,000 --> 00:00:04,000\nZwei\n"


class TestAdded:
    @pytest.fixture
    def added(self, worker, clips) -> None:
        worker.buckets.get("assets").write("a b/lines.srt", LINES.encode())
        worker.buckets.get("assets").publish(clips.audio_only("mp3"), "commentary.mp3")

    def subtitles(self, **more) -> dict:
        return {
            "subtitle": "assets/a b/lines.srt",
            "subtitle_name": "Deutsch",
            "subtitle_language": "de",
            "default_track": True,
            **more,
        }

    @pytest.mark.parametrize(
        ("kind", "clock"), [("ts-segment", 90_000), ("ts-ts-segment", 9_000), ("mp4-mp4-segment", None)]
    )
    def test_subtitles_are_a_track_beside(self, kind, clock, added, upload, ladder, clips):
        """With the clock of TS segments, which does not begin at 0."""
        _, master = ladder(upload(clips.video(5)), hls(kind, add_on_subtitles=[self.subtitles()]))
        parsed = m3u8.load(str(master))
        [media] = [item for item in parsed.media if item.type == "SUBTITLES"]
        assert (media.name, media.language, media.default) == ("Deutsch", "de", "YES")
        assert {item.stream_info.subtitles for item in parsed.playlists} == {"text"}
        [segment] = m3u8.load(str(master.parent / media.uri)).segments
        assert segment.duration == pytest.approx(5, abs=0.1)
        text = (master.parent / segment.uri).read_text()
        assert "00:00.500 --> 00:01.500\nHello <i>you</i>" in text
        assert re.findall(r"MPEGTS:(\d+)", text) == ([str(clock)] if clock else [])
        if clock:
            first = packets(variants(master)[0])[0][0]
            assert first == pytest.approx(clock / 90_000, abs=0.001)

    def test_dash_has_them_as_a_file(self, added, upload, ladder, clips):
        output = {**hls(), "format": "MPEG-DASH", "segment_type": None, "add_on_subtitles": [self.subtitles()]}
        _, mpd = ladder(upload(clips.video()), output)
        text = mpd.read_text()
        assert '<AdaptationSet contentType="text" mimeType="text/vtt" lang="de"><Label>Deutsch</Label>' in text
        assert "Zwei" in (mpd.parent / re.search(r"<BaseURL>([^<]*\.vtt)", text)[1]).read_text()

    def test_sound_is_a_further_choice_as_long_as_the_set(self, added, upload, ladder, clips):
        sound = {"input_info": "assets/commentary.mp3", "audio_name": "Commentary", "audio_language": "eng"}
        _, master = ladder(upload(clips.video(5)), hls(add_on_audios=[sound]))
        media = m3u8.load(str(master)).media
        assert [item.name for item in media][1:] == ["Commentary"]
        read = packets(master.parent / media[1].uri, "audio")
        assert read[-1][0] - read[0][0] == pytest.approx(5, abs=0.1)

    @pytest.mark.parametrize("extension", ["mkv", "mp4"])
    def test_the_source_s_own_are_tracks_too(self, extension, added, upload, ladder, clips):
        """Before those that are added; pictures of text are not."""
        source = upload(clips.with_subtitles(extension))
        assert [text.codec for text in source.media.subtitles] == ["mov_text" if extension == "mp4" else "subrip"]
        _, master = ladder(source, hls(add_on_subtitles=[self.subtitles()]))
        first, second = [item for item in m3u8.load(str(master)).media if item.type == "SUBTITLES"]
        assert (first.name, first.default, second.name) == ("Subtitles 1", "NO", "Deutsch")
        [segment] = m3u8.load(str(master.parent / first.uri)).segments
        assert "00:00.500 --> 00:09.000\nHello" in (master.parent / segment.uri).read_text()
        _, without = ladder(source, hls(source_subtitles=0))
        assert "SUBTITLES" not in without.read_text()

    def test_what_is_not_there_is_refused_at_once(self, planned, upload, clips):
        [refused] = planned(
            upload(clips.video()),
            "adaptive_dynamic_streaming",
            hls(add_on_subtitles=[self.subtitles(subtitle="assets/none.srt")]),
        )
        assert "assets/none.srt" in refused.refusal.message

    def test_other_content_gives_another_set(self, worker, added, planned, upload, clips):
        source, output = upload(clips.video()), hls(add_on_subtitles=[self.subtitles()])
        before = planned(source, "adaptive_dynamic_streaming", output)[-1].fingerprint
        worker.buckets.get("assets").write("a b/lines.srt", LINES.replace("Zwei", "Drei").encode())
        assert planned(source, "adaptive_dynamic_streaming", output)[-1].fingerprint != before


KEY, IV = "00112233445566778899aabbccddeeff", "0f0e0d0c0b0a09080706050403020100"


@pytest.mark.parametrize("kind", ["ts-segment", "mp4-segment", "ts-ts-segment", "mp4-mp4-segment"])
@pytest.mark.parametrize("iv", [IV, ""])
def test_segments_are_encrypted_with_the_key(kind, iv, upload, ladder, clips, outputs):
    """ffmpeg reads them with the key, and the segments themselves are no media."""
    drm = {"type": "simpleaes", "simple_aes_drm": {"uri": "key.bin", "key": KEY, "vector": iv}}
    _, master = ladder(upload(clips.video(5)), hls(kind, drm_info=drm))
    (master.parent / "key.bin").write_bytes(bytes.fromhex(KEY))
    for playlist in variants(master):
        assert len(packets(playlist)) == 125
        first = playlist.parent / m3u8.load(str(playlist)).segments[0].uri
        assert first.read_bytes()[:1] != b"\x47"
        assert b"moof" not in first.read_bytes()[:64]


class TestKeyObject:
    """A key that is an object."""

    @pytest.fixture
    def encrypted(self, planned, worker):
        """Plan a set of a source, whose key is an object; the plan's key, and the object."""

        def encrypted(source) -> tuple[SegmentKey, bytes]:
            aes = {"uri": "https://keys/{inputName}", "key_object": "secrets/keys/{inputName}"}
            [*_, whole] = planned(source, "adaptive_dynamic_streaming", hls(drm_info={"simple_aes_drm": aes}))
            return whole.plan.packaging.encryption, worker.buckets.get("secrets").read(f"keys/{Path(source.key).stem}")

        return encrypted

    def test_it_is_made_for_each_source_and_kept(self, upload, encrypted, clips):
        """So a set that is made again has the same, and players find it by the name of the source."""
        source, other = upload(clips.video(), "a b.mp4"), upload(clips.video(), "other.mp4")
        first, kept = encrypted(source)
        assert (first.uri, bytes.fromhex(first.key), len(kept)) == ("https://keys/a%20b", kept, 16)
        assert encrypted(source) == (first, kept)
        assert encrypted(other)[1] != kept

    def test_one_that_is_there_is_used(self, worker, upload, encrypted, clips):
        worker.buckets.get("secrets").write("keys/own", bytes(range(16)))
        assert encrypted(upload(clips.video(), "own.mp4"))[0].key == bytes(range(16)).hex()

    @pytest.mark.parametrize("content", [b"", b"too short", bytes(17)])
    def test_what_is_no_key_is_refused(self, content, worker, upload, planned, clips):
        worker.buckets.get("secrets").write("key", content)
        drm = {"simple_aes_drm": {"uri": "k", "key_object": "secrets/key"}}
        [refused] = planned(upload(clips.video()), "adaptive_dynamic_streaming", hls(drm_info=drm))
        assert "secrets/key is no key" in refused.refusal.message


@pytest.mark.parametrize("kind", ["ts-segment", "mp4-mp4-segment"])
def test_renditions_that_are_hardly_better_are_left_out(kind, upload, ladder, clips, outputs):
    """The last two differ in their bits only, and the first has a fourth of the pixels."""
    infos = [*streams(90, bitrate=2000), *streams(180, bitrate=2000), *streams(180, bitrate=2200)]
    result, master = ladder(upload(clips.video()), {**hls(kind), "stream_infos": infos, "least_gain": 2})
    assert result.facts["left_out"] == ["picture_2"]
    assert result.facts["scores"]["picture_0"] < result.facts["scores"]["picture_1"] - 2
    assert [item.stream_info.resolution[1] for item in m3u8.load(str(master)).playlists] == [90, 180]
    assert not list(master.parent.glob("*_s_2.m3u8")) or kind != "ts-segment"


def test_the_bits_of_a_fitted_ladder_are_found_by_samples(upload, ladder, clips):
    """Each rendition has the score that is wanted of its own size; those that are no better on a screen are left out."""
    infos = [*streams(90, quality_target=90), *streams(180, quality_target=90), *streams(180, quality_target=91)]
    result, master = ladder(upload(clips.video()), {**hls("ts-segment"), "stream_infos": infos, "least_gain": 2})
    found = {part.label.split()[-1]: part.facts for part in result.parts if "quality_search" in part.facts}
    assert [found[f"picture_{number}"]["quality_search"]["score"] for number in range(3)] == pytest.approx(
        [90, 90, 91], abs=1
    )
    assert [facts["quality"]["against"] for facts in found.values()] == ["source"] * 3
    assert result.facts["scores"]["picture_0"] < result.facts["scores"]["picture_1"] - 2
    assert result.facts["left_out"] == ["picture_2"]
    assert [item.stream_info.resolution[1] for item in m3u8.load(str(master)).playlists] == [90, 180]
