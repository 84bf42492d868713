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

from mps_dagster.errors import InvalidConfiguration
from mps_dagster.execution.verify import Produced, segment_files, verified
from mps_dagster.ffmpeg.copying import HOLDS
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
        whole.write_bytes(b"".join(file.read_bytes() for file in segment_files(plan.segments, folder)))
        return Produced(whole, made.key, made.width, made.height, made.media)

    return copy


def payload(path: Path) -> str:
    """What is in the first audio stream's packets, ADTS headers left out."""
    digest = hashlib.md5()
    with av.open(str(path)) as container:
        for packet in container.demux(container.streams.audio[0]):
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
    sorted(pair for where, holds in HOLDS.items() for pair in product([where], holds.audio)),
)
def test_sound_that_a_container_holds_is_copied_untouched(clips: Clips, copy, where, codec):
    """The whole table: each packet is the source's."""
    source = clips.coded("audio", codec)
    made = copy(source, where, remove_video=1)
    assert [audio.codec for audio in made.media.audio] == [codec]
    assert payload(made.path) == payload(source)


@pytest.mark.parametrize(
    ("where", "codec"),
    sorted(pair for where, holds in HOLDS.items() for pair in product([where], holds.video)),
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
        ("audio", "vorbis", "mp4", "audio is vorbis, which mp4 does not hold", "name a codec: aac, mp3, opus, flac"),
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
    with pytest.raises(InvalidConfiguration, match="does not say when") as caught:
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
