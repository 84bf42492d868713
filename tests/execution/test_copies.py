"""Copies: the same packets in another container, playable, and upright; or refused with what to do about it."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import av
import pytest
from clips import FFMPEG, Clips

from mps_dagster.errors import InvalidConfiguration, OutputRejected
from mps_dagster.execution.segments import segment_files
from mps_dagster.execution.verify import Produced, verified
from mps_dagster.ffmpeg.copying import COPY_SUPPORT
from mps_dagster.media.probe import probe
from mps_dagster.tasks import TASKS
from mps_dagster.tasks.spec import OutputNames

COPY = {"video_template": {"codec": "copy"}, "audio_template": {"codec": "copy"}}
NAMES = OutputNames("clip", "mp4", "", "copy")


@pytest.fixture
def copy(tmp_path) -> Callable[..., Produced]:
    """Plan, run and verify a transcode without the rest of the house; HLS comes as one file."""

    def copy(source: Path, where: str, **spec: Any) -> Produced:
        container, _, kind = where.partition(" in ")
        spec = {"container": container, **COPY, **spec}
        if kind:
            spec["video_template"] = {"segment_type": 7, **spec["video_template"]}
        plan = TASKS["transcode"].plan(TASKS["transcode"].spec.model_validate(spec), probe(source), NAMES)
        folder = tmp_path / where
        folder.mkdir()
        (folder / "source").symlink_to(source)
        for command in plan.commands:
            subprocess.run([FFMPEG, "-v", "error", "-nostdin", "-y", *command], cwd=folder, check=True)
        (made,) = verified(plan, folder)
        if not plan.segments:
            return made
        whole = folder / "whole"
        header = [folder / plan.segments.header] if plan.segments.header else []
        files = [*header, *segment_files(plan.segments, folder)]
        whole.write_bytes(b"".join(file.read_bytes() for file in files))
        return Produced(whole, made.key, made.width, made.height, made.media)

    return copy


def payload(path: Path, track: int = 0) -> str:
    """What is in an audio track's packets, ADTS headers left out."""
    digest = hashlib.md5()
    with av.open(str(path)) as container:
        for packet in container.demux(audio=track):
            data = bytes(packet)
            digest.update(data[7:] if data[:2] == b"\xff\xf1" else data)
    return digest.hexdigest()


def pictures(path: Path) -> tuple[int, str]:
    """How many there are, and a digest of all that is seen."""
    digest, count = hashlib.md5(), 0
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            digest.update(frame.to_ndarray().tobytes())
            count += 1
    return count, digest.hexdigest()


@pytest.mark.parametrize(
    ("where", "codec"),
    sorted(pair for where, holds in COPY_SUPPORT.items() for pair in product([where], holds.audio)),
)
def test_sound_that_a_container_holds_is_copied_untouched(clips: Clips, copy, where, codec):
    """The whole table: each packet is the source's."""
    source = clips.coded("audio", codec)
    made = copy(source, where, remove_video=1)
    assert [audio.codec for audio in made.media.audio] == [codec]
    assert payload(made.path) == payload(source)


@pytest.mark.parametrize(
    ("where", "codec"),
    sorted(pair for where, holds in COPY_SUPPORT.items() for pair in product([where], holds.video)),
)
def test_a_picture_that_a_container_holds_is_copied_untouched(clips: Clips, copy, where, codec):
    """The whole table: the same pictures are decoded from it."""
    source = clips.coded("video", codec)
    made = copy(source, where)
    assert made.media.video.codec == codec
    assert pictures(made.path) == pictures(source)


@pytest.mark.parametrize(
    ("kind", "codec", "where", "says", "hint"),
    [
        ("audio", "vorbis", "mp4", "audio is vorbis, which mp4 cannot hold", "name a codec: aac, mp3, opus, flac"),
        ("audio", "mp2", "mp4", "audio is mp2", "name a codec: aac"),
        ("audio", "pcm_s16be", "wav", "audio is pcm_s16be", "name a codec: pcm16, pcm24"),
        ("audio", "alac", "hls", "audio is alac", "set segment_type to 7 or 5, or name a codec: aac, mp3"),
        ("audio", "aac", "webm", "audio is aac", "name a codec: opus"),
        ("video", "vp8", "mp4", "video is vp8", "name a codec: av1, h264, h265, vp9"),
        ("video", "vp9", "hls", "video is vp9", "set segment_type to 7 or 5, or name a codec"),
        ("video", "hevc", "flv", "video is hevc", "name a codec: h264"),
        ("video", "h264", "webm", "video is h264", "name a codec: av1, vp9"),
    ],
)
def test_what_a_container_does_not_hold_is_refused_with_the_codecs_to_name(clips, copy, kind, codec, where, says, hint):
    """When it is planned; ffmpeg would write some of them, and read them back as something else."""
    with pytest.raises(InvalidConfiguration, match=says) as caught:
        copy(clips.coded(kind, codec), where, remove_video=int(kind == "audio"))
    assert hint in caught.value.hint


@pytest.mark.parametrize(("rate", "held"), [(44_100, True), (48_000, True), (22_050, True), (24_000, False)])
def test_mp3_is_copied_into_flv_at_the_rates_that_its_header_has(clips, copy, rate, held):
    """And refused at others, before ffmpeg does."""
    source = clips.mp3_of(rate)
    if held:
        assert payload(copy(source, "flv", remove_video=1).path) == payload(source)
        return
    with pytest.raises(InvalidConfiguration, match="MP3 of 24000 Hz"):
        copy(source, "flv", remove_video=1)


@pytest.mark.parametrize("where", ["mp4", "mov", "mkv", "flv", "hls", "hls in MP4 segments"])
def test_aac_of_a_transport_stream_is_copied_anywhere(clips, copy, where):
    """Its packets have headers there, which other containers do not want."""
    made = copy(clips.transport_stream(), where)
    assert payload(made.path) == payload(clips.transport_stream())
    assert pictures(made.path) == pictures(clips.transport_stream())


@pytest.mark.parametrize("where", ["mp4", "mov", "mkv", "ts"])
def test_pictures_without_times_get_them_where_their_codec_tells_the_order(clips, copy, where):
    """A program stream of MPEG-2 with B-frames: 25 a second, none lost."""
    made = copy(clips.mpeg2(), where, audio_template={"codec": "aac"})
    assert pictures(made.path) == pictures(clips.mpeg2())
    with av.open(str(made.path)) as container:
        times = [frame.time for frame in container.decode(video=0)]
    assert [after - before for before, after in pairwise(times)] == pytest.approx([0.04] * 49, abs=0.002)


def test_b_frames_without_times_are_refused(clips, copy):
    """Made up, they would be shown in a wrong order."""
    with pytest.raises(InvalidConfiguration, match="lacks the times") as caught:
        copy(clips.b_frames_avi(), "mkv")
    assert "name a codec" in caught.value.hint


@pytest.mark.parametrize(
    ("container", "codec", "found"),
    [
        pytest.param("mp4", "ac3", "ac3", id="held"),
        pytest.param("mkv", "vorbis", "vorbis", id="held by mkv"),
        pytest.param("mp4", "vorbis", "aac", id="not held"),
        pytest.param("webm", "aac", "opus", id="not held by webm"),
    ],
)
def test_a_watermark_leaves_sound_untouched_where_the_container_holds_it(
    clips, upload, made, worker, container, codec, found
):
    """By the same table as a copy; elsewhere it is encoded."""
    source = clips.with_sound(codec)
    marks = {"name": "w", "container": container, "codec": "vp9" if container == "webm" else "h264", "effort": "fast",
             "watermark_set": [{"type": "text", "text_content": "x"}]}  # fmt: skip
    result = made(upload(source), "watermark", marks)[0]
    path = worker.settings.buckets_dir / result.bucket / result.main[0].key
    assert [audio.codec for audio in probe(path).audio] == [found]
    assert (payload(path) == payload(source)) is (found == codec)


@pytest.mark.parametrize(
    ("where", "spec", "languages"),
    [
        ("mp4", {}, ["eng", "jpn"]),
        ("mkv", {"audio_template": {"codec": "copy", "stream_selects": [1, 0]}}, ["jpn", "eng"]),
        ("ts", {}, ["eng", "jpn"]),
        ("flv", {}, ["jpn"]),
        ("hls", {}, ["jpn"]),
        ("hls", {"audio_template": {"codec": "copy", "stream_selects": [0]}}, ["eng"]),
    ],
)
def test_all_tracks_are_copied_or_the_default_one(clips, copy, where, spec, languages):
    """FLV and HLS hold one. The first track is 440 Hz in English, the second, the default, 880 Hz in Japanese."""
    made = copy(clips.languages(), where, **spec)
    digests = {"eng": payload(clips.languages(), 0), "jpn": payload(clips.languages(), 1)}
    assert [payload(made.path, number) for number in range(len(made.media.audio))] == [
        digests[name] for name in languages
    ]
    # FLV has no place for a language.
    assert where == "flv" or [audio.language for audio in made.media.audio] == languages


# -------------------------------------------------------------------------------------------------------------- HEVC


def parameter_sets(path: Path) -> tuple[str, set[int], int]:
    """Of an MP4: the sample entry's name, the kinds of NAL units in its header, and how many sets are among the pictures."""
    content = path.read_bytes()
    entry = next(name for name in ("hvc1", "hev1") if name.encode() + bytes(6) in content)
    at = content.index(b"hvcC") + 4 + 22
    kinds, arrays, at = set(), content[at], at + 1
    for _ in range(arrays):
        kinds.add(content[at] & 63)
        count, at = int.from_bytes(content[at + 1 : at + 3], "big"), at + 3
        for _ in range(count):
            at += 2 + int.from_bytes(content[at : at + 2], "big")
    among = 0
    with av.open(str(path)) as container:
        for packet in container.demux(video=0):
            data, start = bytes(packet), 0
            while start + 4 < len(data):
                among += data[start + 4] >> 1 & 63 in (32, 33, 34)
                start += 4 + int.from_bytes(data[start : start + 4], "big")
    return entry, kinds & {32, 33, 34}, among


@pytest.mark.parametrize("where", ["mp4", "mov", "hls in MP4 segments"])
@pytest.mark.parametrize(
    "recipe",
    [("hevc", "mkv"), ("hevc", "ts"), ("hevc", "mp4"), ("hevc", "mp4", "hvc1"), ("in_band_hevc",)],
    ids=["mkv", "ts", "hev1", "hvc1", "hev1, sets in the stream only"],
)
def test_copied_hevc_is_of_the_kind_that_apple_plays(clips, copy, recipe, where):
    """hvc1: VPS, SPS and PPS stand in the header and nowhere else; the pictures are the source's."""
    source = getattr(clips, recipe[0])(*recipe[1:])
    made = copy(source, where)
    assert parameter_sets(made.path) == ("hvc1", {32, 33, 34}, 0)
    assert pictures(made.path) == pictures(source)


@pytest.mark.parametrize("where", ["mp4", "mov", "hls in MP4 segments"])
def test_copied_avc3_becomes_avc1(clips, copy, where):
    """H.264 whose parameter sets are in the stream only: they are in the header now."""
    made = copy(clips.in_band_h264(), where)
    content = made.path.read_bytes()
    assert b"avc1" + bytes(6) in content
    assert content[content.index(b"avcC") + 9] & 31 > 0
    assert pictures(made.path) == pictures(clips.in_band_h264())


@pytest.mark.parametrize("where", ["mp4", "mov", "mkv", "ts"])
def test_copied_hevc_survives_a_change_of_size(clips, copy, where):
    """Its second parameter sets are not lost; with ffmpeg's hvc1 alone the second half would be rubbish."""
    source = clips.hevc_changing_size()
    assert pictures(copy(source, where).path) == pictures(source)


@pytest.mark.parametrize(("codec", "entry"), [("av1", b"av01"), ("vp9", b"vp09"), ("h264", b"avc1")])
@pytest.mark.parametrize("where", ["mp4", "hls in MP4 segments"])
def test_other_codecs_have_their_standard_names_in_mp4(clips, copy, codec, entry, where):
    """Read off the file."""
    assert entry in copy(clips.coded("video", codec), where).path.read_bytes()


# -------------------------------------------------------------------------------------------- turned, mirrored, cut

KEEPS = ["mp4", "mov", "mkv", "hls in MP4 segments"]
LOSES = ["ts", "flv", "hls"]


@pytest.mark.parametrize("where", KEEPS)
@pytest.mark.parametrize(
    ("recipe", "turned"),
    [
        (("rotated", 90), (90, False)),
        (("rotated", 180), (180, False)),
        (("mirrored", "-display_hflip"), (180, True)),
        (("mirrored", "-display_vflip"), (0, True)),
        (("mirrored", "-display_hflip", "-display_rotation", "-90"), (90, True)),
    ],
    ids=str,
)
def test_a_copy_is_turned_and_mirrored_as_its_source(clips, copy, recipe, turned, where):
    """Where the container can say it: ffmpeg, as a player, shows the same picture."""
    source = getattr(clips, recipe[0])(*recipe[1:])
    made = copy(source, where)
    assert (made.media.video.rotation, made.media.video.mirrored) == turned
    assert shown(made.path) == shown(source)


def test_a_turned_copy_in_webm_stays_turned(clips, copy):
    """WebM has Matroska's way to say it."""
    made = copy(clips.rotated_vp9(), "webm")
    assert (made.width, made.height) == (144, 176)


@pytest.mark.parametrize("where", LOSES)
@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        (("rotated", 90), "turned by 90 degrees"),
        (("rotated", 180), "turned by 180 degrees"),
        (("mirrored", "-display_hflip"), "mirrored"),
        (("mirrored", "-display_vflip"), "mirrored"),
    ],
    ids=str,
)
def test_a_turned_picture_is_not_copied_where_it_would_lie_on_its_side(clips, copy, recipe, says, where):
    """Refused, with two ways out; encoded, it is upright."""
    source = getattr(clips, recipe[0])(*recipe[1:])
    with pytest.raises(InvalidConfiguration, match=says) as caught:
        copy(source, where)
    assert "name a codec: " in caught.value.hint
    assert "copy it into mp4" in caught.value.hint


@pytest.mark.parametrize(
    "recipe", [("mirrored", "-display_hflip"), ("mirrored", "-display_hflip", "-display_rotation", "-90")], ids=str
)
def test_an_encoded_picture_of_a_front_camera_is_mirrored_for_good(clips, copy, recipe):
    """The pixels are flipped, and nothing in the header says so once more."""
    source = getattr(clips, recipe[0])(*recipe[1:])
    made = copy(source, "mp4", video_template={"codec": "h264", "vcrf": 5, "effort": "fast"})
    assert (made.media.video.rotation, made.media.video.mirrored) == (0, False)
    pairs = list(zip(shown(made.path), shown(source), strict=True))
    assert sum(abs(one - other) for one, other in pairs) / len(pairs) < 3


def test_a_copy_that_lost_its_turn_is_not_published(clips, tmp_path):
    """Whatever a muxer of another version does."""
    plan = TASKS["transcode"].plan(
        TASKS["transcode"].spec.model_validate({"container": "mp4", **COPY}), probe(clips.rotated(90)), NAMES
    )
    (tmp_path / "out.mp4").symlink_to(clips.video())
    with pytest.raises(OutputRejected, match="turned"):
        verified(plan, tmp_path)


def shown(path: Path) -> bytes:
    """The first picture as ffmpeg shows it: grey, a quarter of its size."""
    args = [
        "-i",
        str(path),
        "-frames:v",
        "1",
        "-vf",
        "scale=iw/4:ih/4:flags=area",
        "-pix_fmt",
        "gray",
        "-f",
        "rawvideo",
        "-",
    ]
    return subprocess.run([FFMPEG, "-v", "error", *args], capture_output=True, check=True).stdout


def ticks(path: Path, *, picture: bool = True) -> dict[int, list[float]]:
    """When each second of `Clips.ticks` is seen and heard."""
    found: dict[int, list[float]] = {}
    with av.open(str(path)) as container:
        lit = False
        for frame in container.decode(video=0) if picture else ():
            grey = frame.to_ndarray(format="gray")
            if (flash := grey[:, :80].mean() > 128) and not lit:
                found[round((grey[:, 80:].mean() - 20) / 30)] = [frame.time]
            lit = flash
    for number, at in beeps(path):
        found.setdefault(number, []).append(at)
    return found


def beeps(path: Path) -> list[tuple[int, float]]:
    """Which second's beep is heard when, by its pitch."""
    start, samples = None, []
    with av.open(str(path)) as container:
        one = av.AudioResampler("flt", "mono", 48_000)
        for frame in container.decode(audio=0):
            start = frame.time if start is None else start
            samples += [value for part in one.resample(frame) for value in part.to_ndarray()[0].tolist()]
    heard, at = [], 0
    while at < len(samples):
        if abs(samples[at]) > 0.2:
            tone = samples[at + 480 : at + 2400]
            hertz = sum(one < 0 <= other for one, other in pairwise(tone)) / max(len(tone), 1) * 48_000
            heard.append((round((hertz - 500) / 200), start + at / 48_000))
            at += 24_000
        at += 1
    return heard


STEP_S = 0.03


@pytest.mark.parametrize("where", ["mp4", "mov", "mkv", "ts", "flv", "hls", "hls in MP4 segments"])
@pytest.mark.parametrize("extension", ["mp4", "mkv", "ts", "flv"])
@pytest.mark.parametrize("codec", ["copy", "h264"])
def test_in_a_part_sound_and_picture_stay_in_step(clips, copy, extension, where, codec):
    """The sound is copied from 1.5 s on: with the picture, which then begins at a key frame, or to one that is encoded."""
    video = {"codec": codec, "effort": "fast"}
    made = copy(clips.ticks(extension), where, video_template=video, start_time_offset=1.5, end_time_offset=5.5)
    found = ticks(made.path)
    both = {number: times for number, times in found.items() if len(times) == 2}
    assert set(both) >= {2, 3, 4, 5}
    assert {number: seen - heard for number, (seen, heard) in both.items()} == pytest.approx(
        dict.fromkeys(both, 0), abs=STEP_S
    )
    if codec == "h264":
        # Nothing from before the part, and its first tick half a second from its start.
        assert set(found) == {2, 3, 4, 5}
        first = made.media.video.start_s
        assert both[2][0] - av_start(made.path) - first == pytest.approx(0.5, abs=STEP_S)


def av_start(path: Path) -> float:
    with av.open(str(path)) as container:
        return container.start_time / av.time_base


@pytest.mark.parametrize("where", ["mp4", "mov", "mkv", "ts", "flv"])
@pytest.mark.parametrize("extension", ["mp4", "mkv", "ts"])
def test_a_copy_keeps_how_late_the_picture_is(clips, copy, extension, where):
    """1.4 s after the sound, in every container."""
    found = ticks(copy(clips.late_ticks(extension), where).path)
    both = {number: times[0] - times[1] for number, times in found.items() if len(times) == 2}
    assert len(both) >= 5
    assert both == pytest.approx(dict.fromkeys(both, 1.4), abs=STEP_S)


@pytest.mark.parametrize("where", ["m4a", "mkv", "mp4"])
@pytest.mark.parametrize("extension", ["mp4", "mkv", "ts"])
def test_a_part_of_copied_sound_begins_where_it_was_asked_to(clips, copy, extension, where):
    """Not at the picture's key frame: within two packets of 21 ms."""
    made = copy(clips.ticks(extension), where, remove_video=1, start_time_offset=1.5, end_time_offset=5.5)
    found = ticks(made.path, picture=False)
    assert {number: at - av_start(made.path) for number, (at,) in found.items()} == pytest.approx(
        {2: 0.5, 3: 1.5, 4: 2.5, 5: 3.5}, abs=0.043
    )


@pytest.mark.parametrize(
    ("where", "holds"), [("mp4", True), ("mov", True), ("mkv", False), ("ts", False), ("hls", False)]
)
def test_what_an_edit_list_cuts_off_is_not_shown_by_a_copy(clips, copy, where, holds):
    """MP4 and QuickTime keep the list; others would show what was cut, so they are refused."""
    source = clips.trimmed_ticks()
    if holds:
        found = ticks(copy(source, where).path)
        assert {number: seen for number, (seen, _) in found.items()} == pytest.approx(
            {3: 0.5, 4: 1.5, 5: 2.5}, abs=STEP_S
        )
        assert {number: heard for number, (_, heard) in found.items()} == pytest.approx(
            {3: 0.5, 4: 1.5, 5: 2.5}, abs=STEP_S
        )
        return
    with pytest.raises(InvalidConfiguration, match="edit list hides") as caught:
        copy(source, where)
    assert "name a codec" in caught.value.hint
