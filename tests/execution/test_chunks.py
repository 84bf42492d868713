"""Outputs in chunks from real clips: the same pictures, times, segments and sound as encoded whole."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from clips import pattern, tone
from readings import hertz, sound

from mps_dagster.errors import OutputRejected
from mps_dagster.execution.break_down import break_down
from mps_dagster.execution.joining import write_list
from mps_dagster.execution.parts import PartMissing
from mps_dagster.execution.perform import Worker
from mps_dagster.execution.subtask import Subtask
from mps_dagster.ffmpeg.plan import Chunks
from mps_dagster.settings import Settings
from mps_dagster.tasks.result import SubtaskResult
from mps_dagster.workflow.model import Source
from mps_dagster.workflow.parse import parse_task
from mps_dagster.workflow.templates import Templates

pytestmark = pytest.mark.slow

LOSSLESS = {"effort": "fast", "vcrf": 0}
X264 = ("-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-bf", "3", "-g", "15")
SIZE = "160x90"


def in_chunks(worker: Worker) -> Worker:
    """The worker with chunks switched on, also for clips of seconds, which settings from outside do not allow."""
    settings = worker.settings.model_copy(update={"chunks_from_s": 5.0, "chunk_s": 3.2})
    return replace(worker, settings=settings)


def subtasks_of(source: Source, worker: Worker, output: dict, folder: str = "/out/") -> tuple[Subtask, ...]:
    document = {"type": "transcode", "outputs": [{"name": "x", **output}]}
    templates = Templates.load(worker.settings.templates_dir)
    return break_down(
        parse_task("task", document, {"bucket": "outputs", "dir": folder}, templates, where="test"), source, worker
    )


def perform(worker: Worker, *subtasks: Subtask) -> list[SubtaskResult]:
    return [worker.perform(subtask, "run", lambda *_: None) for subtask in subtasks]


@pytest.fixture
def both(worker, upload):
    """Make an output whole and in chunks; the files of both, and the number of chunks."""

    def both(clip: Path, output: dict) -> tuple[Path, Path, int]:
        source, outputs = upload(clip), worker.settings.buckets_dir / "outputs"
        whole = perform(worker, *subtasks_of(source, worker, output, "/whole/"))
        chunked = perform(worker, *subtasks_of(source, in_chunks(worker), output, "/chunked/"))
        return outputs / whole[-1].main[0].key, outputs / chunked[-1].main[0].key, len(chunked) - 1

    return both


def pictures(path: Path) -> list[tuple[float, int]]:
    """Time and content of each picture."""
    with av.open(str(path), options={"allowed_extensions": "ALL", "extension_picky": "0"}) as container:
        return [
            (round(float(frame.pts * frame.time_base), 5), hash(frame.to_ndarray().tobytes()))
            for frame in container.decode(video=0)
        ]


def variable(clips) -> Path:
    uneven = ("-vf", r"select='if(lt(mod(t\,4)\,2),1,not(mod(n,7)))'", "-fps_mode", "vfr", "-g", "5")
    return clips._ffmpeg("chunks_vfr.mp4", *pattern(SIZE, seconds=10), *tone(10), *X264, *uneven, "-c:a", "aac")


def plain(clips, rate: str = "25", extension: str = "mp4") -> Path:
    name = f"chunks_{rate.partition('/')[0]}.{extension}"
    return clips._ffmpeg(name, *pattern(SIZE, rate, 10), *tone(10), *X264, "-c:a", "aac")


def late(clips) -> Path:
    picture = ("-itsoffset", "0.7", *pattern(SIZE, seconds=9))
    maps = ("-map", "1:v", "-map", "0:a")
    return clips._ffmpeg("chunks_late.mp4", *tone(10), *picture, *maps, *X264, "-c:a", "aac")


def uneven(clips) -> Path:
    times = ("-vf", "setpts='(N/60+0.006*(random(1)-0.5))/TB'", "-enc_time_base", "1:90000")
    return clips._ffmpeg(
        "chunks_jitter.mp4", *pattern(SIZE, "60", 10), *times, *X264, "-video_track_timescale", "90000"
    )


HLS = {"container": "hls", "video_template": {**LOSSLESS, "hls_time": 1}}
MARK = {"type": "text", "text_content": "W", "start_time_offset": 2.5, "end_time_offset": 7.25}
CASES = [
    pytest.param(plain, {}, id="25 with B-frames"),
    pytest.param(lambda clips: plain(clips, "30000/1001"), {"video_template": {**LOSSLESS, "fps": 25}}, id="29.97 to 25"),
    pytest.param(plain, {"video_template": {**LOSSLESS, "fps": 30}}, id="25 to 30"),
    pytest.param(variable, {}, id="variable rate"),
    pytest.param(variable, {"video_template": {**LOSSLESS, "fps": 25}}, id="variable rate to 25"),
    pytest.param(uneven, {}, id="uneven times"),
    pytest.param(late, {}, id="a picture that comes late"),
    pytest.param(lambda clips: plain(clips, "24000/1001", "mkv"), {"container": "mkv"}, id="milliseconds"),
    pytest.param(lambda clips: plain(clips, extension="ts"), {}, id="transport stream"),
    pytest.param(plain, {"start_time_offset": 1.3, "end_time_offset": 9.1}, id="a part"),
    pytest.param(plain, {"watermark_set": [MARK]}, id="a watermark for some seconds"),
    pytest.param(plain, HLS, id="HLS"),
    pytest.param(lambda clips: plain(clips, "30000/1001"), {**HLS, "video_template": {**HLS["video_template"], "segment_type": 7}}, id="HLS in MP4"),
]  # fmt: skip


@pytest.mark.parametrize(("clip", "output"), CASES)
def test_every_picture_sample_and_segment_is_that_of_the_whole(clips, both, clip, output):
    whole, chunked, parts = both(clip(clips), {"video_template": LOSSLESS, **output})
    assert parts >= 2
    assert pictures(chunked) == pictures(whole)
    if whole.suffix == ".m3u8":
        lengths = [re.findall(r"#EXTINF:([\d.]+)", path.read_text()) for path in (whole, chunked)]
        assert lengths[0] == lengths[1]
    elif clip is not uneven:
        assert np.array_equal(sound(chunked), sound(whole))
        assert {hertz(sound(chunked)[at : at + 1600]) for at in range(3200, 120_000, 1600)} == {440}


RATES = [
    pytest.param({"video_template": {"effort": "fast", "bitrate": 300}}, id="h264"),
    pytest.param({"video_template": {"effort": "fast", "bitrate": 300, "mode": "CBR", "fps": 30}}, id="constant"),
    pytest.param({"video_template": {"effort": "fast", "bitrate": 300, "codec": "h265", "gop": 30}}, id="h265"),
    pytest.param({"container": "webm", "video_template": {"effort": "fast", "bitrate": 300, "codec": "vp9"}}, id="vp9"),
    pytest.param({"video_template": {"effort": "fast", "bitrate": 300, "codec": "av1"}}, id="av1"),
    pytest.param({"container": "hls", "video_template": {"effort": "fast", "bitrate": 300, "hls_time": 1}}, id="hls"),
]  # fmt: skip


@pytest.mark.parametrize("output", RATES)
def test_with_a_bitrate_no_picture_is_lost_where_the_encoder_began_before(clips, both, output):
    whole, chunked, parts = both(plain(clips), output)
    assert parts == 3
    assert [at for at, _ in pictures(chunked)] == [at for at, _ in pictures(whole)]


def test_loudness_and_scores_are_those_of_the_whole(clips, worker, upload):
    output = {
        "video_template": {**LOSSLESS, "quality": {"metric": "xpsnr"}},
        "audio_template": {"loudness": {"target_lufs": -20}},
    }
    results = perform(worker, *subtasks_of(upload(plain(clips)), in_chunks(worker), output))
    facts = results[-1].facts
    assert facts["loudness"]["tracks"][0]["output"]["lufs"] == pytest.approx(-20, abs=0.5)
    assert facts["quality"]["pictures"] == 250
    assert all("quality" not in part.facts for part in results[:-1])


@pytest.mark.parametrize(
    ("clip", "output"),
    [
        pytest.param(late, HLS, id="black comes first"),
        pytest.param(lambda clips: clips.long_gop(), {}, id="key frames far apart"),
        pytest.param(plain, {"video_template": {"codec": "copy"}}, id="a copy"),
        pytest.param(plain, {"remove_video": 1}, id="sound"),
        pytest.param(variable, {"container": "mkv"}, id="a variable rate in Matroska"),
        pytest.param(
            plain, {"video_template": {"effort": "fast", "quality_target": 80}}, id="one CRF is searched for all of it"
        ),
    ],
)
def test_what_chunks_could_change_is_encoded_whole(clips, upload, worker, clip, output):
    subtasks = subtasks_of(upload(clip(clips)), in_chunks(worker), {"video_template": LOSSLESS, **output})
    assert len(subtasks) == 1


def test_only_a_chunk_that_failed_is_made_again(clips, worker, upload):
    *parts, whole = subtasks_of(upload(plain(clips)), in_chunks(worker), {"video_template": LOSSLESS})
    perform(worker, parts[0], parts[2])
    with pytest.raises(PartMissing, match="chunk_001"):
        perform(worker, whole)
    assert [result.reused for result in perform(worker, *parts)] == [True, False, True]
    assert perform(worker, whole)[0].main[0].media.video.frames == 250


def test_an_output_that_stands_is_not_made_again_when_chunks_are_switched_on(clips, worker, upload):
    """Neither a short one, which is planned as before, nor a long one, which would be the same."""
    source = upload(plain(clips))
    [whole] = subtasks_of(source, worker, {"video_template": LOSSLESS})
    perform(worker, whole)
    *parts, joined = subtasks_of(source, in_chunks(worker), {"video_template": LOSSLESS})
    assert (len(parts), joined.fingerprint) == (3, whole.fingerprint)
    assert perform(worker, joined)[0].reused


def test_chunks_with_other_headers_are_not_joined(clips, tmp_path):
    for name, profile in (("chunk_000", "main"), ("chunk_001", "high")):
        (tmp_path / name).mkdir()
        clip = clips._ffmpeg(f"{profile}.mp4", *pattern(SIZE), *X264, "-profile:v", profile)
        (tmp_path / name / "out.mp4").symlink_to(clip)
    chunks = Chunks(list="list", parts=("chunk_000", "chunk_001"), file="out.mp4", starts_us=(0, 2_000_000))
    with pytest.raises(OutputRejected, match=r"chunk_001 was encoded with other headers(.|\n)*MPS_CHUNKS_FROM_S=0"):
        write_list(chunks, tmp_path)


def test_chunks_are_for_sources_of_ten_minutes_or_more():
    with pytest.raises(ValueError, match="600 at least"):
        Settings(chunks_from_s=60)
