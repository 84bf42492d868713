"""Outputs have the loudness that was asked for, measured with ffmpeg's meter of EBU R 128."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from clips import FFMPEG

from mps_dagster.ffmpeg.loudness import Level, summaries

pytestmark = pytest.mark.slow

SOUNDS = {
    "quiet": "anoisesrc=a=0.004:d=8:r=48000:seed=1,lowpass=3000",
    "loud": "anoisesrc=a=0.9:d=8:r=48000:seed=1",
    # Speech-like bursts at -40 dB with a bang of full scale every two seconds.
    "peaky": "anoisesrc=a=0.05:d=8:r=48000:seed=2,volume='if(lt(mod(t,2),0.01),20,1)':eval=frame",
    "short": "sine=f=440:d=1.2:r=48000,volume=0.05",
    "mono": "anoisesrc=a=0.05:d=6:r=44100:seed=3,aformat=channel_layouts=mono",
    "5.1": "anoisesrc=a=0.05:d=6:r=48000:seed=4,pan=5.1|FL=c0|FR=0.7*c0|FC=0.5*c0|LFE=c0|BL=0.3*c0|BR=0.2*c0",
}


def make_sound(tmp_path: Path, name: str, graph: str) -> Path:
    path = tmp_path / f"{name}.wav"
    args = ["-v", "error", "-y", "-f", "lavfi", "-i", graph, "-c:a", "pcm_s24le", str(path)]
    subprocess.run([FFMPEG, *args], check=True)
    return path


def measured(path: Path, track: int = 0) -> Level:
    args = ["-nostats", "-i", str(path), "-map", f"0:a:{track}", "-filter:a", "ebur128=peak=true:framelog=quiet"]
    run = subprocess.run([FFMPEG, *args, "-f", "null", "-"], check=True, capture_output=True, text=True)
    [level] = summaries(run.stderr)
    return level


@pytest.mark.parametrize("codec", ["aac", "pcm24"])
@pytest.mark.parametrize("name", SOUNDS)
def test_every_kind_of_sound_reaches_the_target(tmp_path, worker, upload, made, name, codec):
    """±0.5 LU, and no peak above the ceiling, in the published file."""
    container = "wav" if codec == "pcm24" else "m4a"
    audio = {"codec": codec, "loudness": {"target_lufs": -23, "true_peak_db": -1}, "audio_channel": 0}
    [result] = made(
        upload(make_sound(tmp_path, name.replace(".", ""), SOUNDS[name])), "transcode",
        {"name": "x", "container": container, "audio_template": audio},
    )  # fmt: skip
    published = worker.buckets.get("outputs").root / result.main[0].key
    output = measured(published)
    assert output.lufs == pytest.approx(-23, abs=0.5)
    assert output.true_peak_db <= -0.95
    [track] = result.facts["loudness"]["tracks"]
    assert track["reached"]
    assert track["output"] == output.model_dump()


def test_silence_gets_no_gain(tmp_path, upload, made):
    source = upload(make_sound(tmp_path, "silence", "anullsrc=r=48000:cl=stereo,atrim=end=3"))
    [result] = made(source, "transcode", {"name": "x", "container": "m4a", "audio_template": {"loudness": {}}})
    [track] = result.facts["loudness"]["tracks"]
    assert (track["gain_db"], track["input"]["lufs"], track["reached"]) == (0.0, None, False)


def test_each_track_has_a_gain_of_its_own(tmp_path, worker, upload, made):
    quiet, loud = (make_sound(tmp_path, name, SOUNDS[name]) for name in ("quiet", "peaky"))
    both = tmp_path / "both.mkv"
    args = ["-v", "error", "-i", str(quiet), "-i", str(loud), "-map", "0", "-map", "1", "-c", "copy", str(both)]
    subprocess.run([FFMPEG, *args], check=True)
    audio = {"codec": "opus", "loudness": {"target_lufs": -18}}
    [result] = made(upload(both), "transcode", {"name": "x", "container": "mkv", "audio_template": audio})
    published = worker.buckets.get("outputs").root / result.main[0].key
    tracks = result.facts["loudness"]["tracks"]
    assert [measured(published, number).lufs for number in (0, 1)] == pytest.approx([-18, -18], abs=0.5)
    assert all(track["output"]["true_peak_db"] <= -1 for track in tracks)
    assert tracks[0]["gain_db"] > 30 > tracks[1]["gain_db"]


@pytest.mark.parametrize(
    "spec",
    [
        {"container": "hls", "remove_video": 1},
        {"container": "hls"},
        {"container": "mp4", "start_time_offset": 1.3, "end_time_offset": 3.1},
        {"container": "ts", "audio_template": {"sample_rate": 44100, "audio_channel": 1}},
        {"container": "mp4", "audio_template": {"audio_channel": 6}},
        {"container": "mp4", "video_template": {"quality": {"short_side": 360}, "vcrf": 30}},
    ],
)
def test_what_else_the_output_is_does_not_matter(clips, worker, upload, made, spec):
    audio = {"loudness": {"target_lufs": -16}, **spec.pop("audio_template", {})}
    [result] = made(upload(clips.video(4)), "transcode", {"name": "x", **spec, "audio_template": audio})
    published = worker.buckets.get("outputs").root / result.main[0].key
    assert measured(published).lufs == pytest.approx(-16, abs=0.5)
    assert result.facts["loudness"]["tracks"][0]["reached"]


def test_sound_that_changes_its_format_is_measured_as_a_whole(tmp_path, worker, upload, made):
    """ffmpeg rebuilds the filters then, and a meter in them would start again."""
    parts = []
    for name, layout, level_db in (("a", "mono", -40), ("b", "stereo", -10)):
        part = tmp_path / f"{name}.ts"
        graph = f"sine=f=440:d=4:r=48000,aformat=channel_layouts={layout},volume={level_db}dB"
        subprocess.run([FFMPEG, "-v", "error", "-f", "lavfi", "-i", graph, "-c:a", "aac", str(part)], check=True)
        parts.append(part.read_bytes())
    changing = tmp_path / "changing.ts"
    changing.write_bytes(b"".join(parts))
    output = {"name": "x", "container": "m4a", "audio_template": {"loudness": {}}}
    [result] = made(upload(changing), "transcode", output)
    [track] = result.facts["loudness"]["tracks"]
    assert measured(worker.buckets.get("outputs").root / result.main[0].key).lufs == pytest.approx(-23, abs=0.5)
    assert track["input"]["lufs"] == pytest.approx(-23 - track["gain_db"], abs=0.2)
    assert track["input"]["range_lu"] > 5
