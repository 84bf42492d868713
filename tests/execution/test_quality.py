"""Scores say what an encoder lost, whatever was done to the picture before."""

from __future__ import annotations

import pytest

from mps_dagster.errors import InvalidConfiguration
from mps_dagster.ffmpeg import crf
from mps_dagster.ffmpeg.sharing import sharing_key

pytestmark = pytest.mark.slow

FAST = {"codec": "h264", "effort": "fast"}
SMALL = {"short_side": 360}
"""Scored at a small size, so that tests are quick."""
MARK = {"type": "text", "text_content": "WATERMARK", "text_template": {"font_size": "40px"}}


@pytest.fixture
def scored(upload, made):
    """Encode a clip with a CRF, and return what is said of its quality."""

    def scored(clip, crf=0, *, metric="vmaf", container="mp4", video=None, **spec):
        template = {**FAST, "vcrf": crf, "quality": {"metric": metric, **SMALL}, **(video or {})}
        output = {"name": "x", "container": container, "video_template": template, **spec}
        [result] = made(upload(clip), "transcode", output)
        return result.facts["quality"]

    return scored


def test_a_lossless_copy_has_the_best_score_and_a_small_file_a_bad_one(clips, scored):
    lossless, good, bad = (scored(clips.video(), crf) for crf in (0, 28, 45))
    assert lossless["mean"] >= 99
    assert lossless["mean"] > good["mean"] > bad["mean"]
    assert bad["p1"] <= bad["harmonic_mean"] <= bad["mean"]
    assert bad["worst_second"]["score"] <= bad["mean"]
    assert bad["worst_second"]["at_s"] in (0, 1)
    assert bad["pictures"] == 50


@pytest.mark.parametrize(
    ("clip", "spec"),
    [
        ("video", {"watermark_set": [MARK]}),
        ("video", {"video": {"width": 360, "height": 360, "fill_type": "black"}}),
        ("video", {"video": {"width": 360, "height": 360, "fill_type": "gauss"}}),
        ("video", {"video": {"width": 360, "height": 360, "fill_type": "smarttailor"}}),
        ("video", {"video": {"height": 90}}),
        ("video", {"video": {"fps": 12}}),
        ("video", {"video": {"fps": 100, "fps_denominator": 7}}),
        ("video", {"start_time_offset": 0.73, "end_time_offset": 1.61}),
        ("video", {"video": {"codec": "h265", "bit_depth": 10}}),
        ("rotated90", {}),
        ("odd_size", {}),
        ("anamorphic", {}),
        ("interlaced", {}),
        ("variable_rate", {}),
        ("variable_rate", {"start_time_offset": 1.37}),
        ("milliseconds", {"container": "mkv"}),
        ("late_start", {}),
        ("late_start", {"start_time_offset": 0.5}),
        ("late_audio", {}),
        ("edit_list", {}),
        ("short_video", {"container": "hls"}),
        ("video", {"container": "hls", "video": {"segment_type": 5, "hls_time": 1}}),
        ("video", {"container": "hls", "video": {"segment_type": 2, "hls_time": 1}}),
        ("video", {"container": "ts"}),
        ("video", {"container": "flv"}),
        ("video", {"container": "webm", "video": {"codec": "vp9"}}),
        ("video", {"container": "mp4", "video": {"codec": "av1"}}),
        ("hdr10", {}),
        ("hdr10", {"video": {"codec": "h265", "bit_depth": 10}}),
        ("alpha", {"container": "webm", "video": {"codec": "vp9", "alpha": 1}}),
    ],
)
def test_what_is_done_to_the_picture_does_not_count(clips, scored, clip, spec):
    """Every picture is compared with its own partner: one frame off would cost 20 points and more in these clips."""
    source = clips.rotated(90) if clip == "rotated90" else getattr(clips, clip)()
    video = {"vcrf": 8, **spec.pop("video", {})}
    assert scored(source, video=video, **spec)["mean"] >= 96


def test_a_shift_by_one_picture_would_be_seen(clips, worker, upload, planned):
    """The proof that the test above can fail."""
    video = {**FAST, "vcrf": 8, "quality": SMALL}
    [subtask] = planned(upload(clips.video()), "transcode", {"name": "x", "video_template": video})
    scoring = subtask.plan.scoring
    shifted = tuple(part.replace("PTS-STARTPTS", "PTS-STARTPTS+40000", 1) for part in scoring.command)
    plan = subtask.plan.model_copy(update={"scoring": scoring.model_copy(update={"command": shifted})})
    result = worker.perform(subtask.model_copy(update={"plan": plan}), "run", lambda *_: None)
    assert result.facts["quality"]["mean"] < 80


def test_sizes_can_be_compared_against_the_source(clips, scored):
    """A small output looks worse, though its encoder lost nothing."""
    source = {**SMALL, "against": "source"}
    small, large = (scored(clips.video(), video={"height": height, "quality": source}) for height in (90, 180))
    assert scored(clips.video(), video={"height": 90})["mean"] > 99
    assert large["mean"] > 99
    assert small["mean"] < 80


def test_borders_cannot_be_compared_with_the_source(clips, upload, made):
    video = {**FAST, "width": 180, "height": 180, "quality": {**SMALL, "against": "source"}}
    with pytest.raises(InvalidConfiguration, match="has borders"):
        made(upload(clips.video()), "transcode", {"name": "x", "video_template": video})


def test_large_pictures_have_a_model_of_their_own(clips, scored):
    cut = {"end_time_offset": 0.2, "remove_audio": 1}
    quality = scored(clips.video(), 20, video={"quality": {"short_side": 2160}}, **cut)
    assert quality["compared_at"] == "3840x2160"
    assert quality["mean"] > 90


def test_xpsnr_is_in_decibels(clips, scored):
    lossless, bad = scored(clips.video(), metric="xpsnr"), scored(clips.video(), 45, metric="xpsnr")
    assert lossless["mean"] >= 60
    assert bad["p1"] <= bad["mean"] < 40
    assert "harmonic_mean" not in bad


def test_the_search_reaches_its_target_and_says_what_it_cost(clips, upload, made):
    video = {**FAST, "quality_target": 90, "quality": SMALL}
    [result] = made(upload(clips.video()), "transcode", {"name": "x", "video_template": video})
    search = result.facts["quality_search"]
    assert result.facts["quality"]["mean"] == pytest.approx(90, abs=1)
    assert search["reached"]
    assert {"crf": search["crf"], "score": search["score"]} in search["tried"]
    assert 0 < search["cpu_s"] < result.cpu_s
    assert f"-crf {search['crf']:g} " in result.commands[0]
    assert len(result.commands) == 2, "the encode and its scoring"
    assert (result.figures["crf"], result.figures["vmaf"]) == (search["crf"], result.facts["quality"]["mean"])


def test_long_videos_are_tried_at_several_places(clips, upload, made, monkeypatch):
    """With a watermark that only some of the samples have. Half of the usual lengths."""
    monkeypatch.setattr(crf, "SAMPLE_S", 4.0)
    monkeypatch.setattr(crf, "SUBSAMPLED_S", 3.0)
    mark = {**MARK, "start_time_offset": 10, "end_time_offset": 15}
    video = {**FAST, "height": 90, "quality_target": 85, "quality": SMALL}
    output = {"name": "x", "remove_audio": 1, "video_template": video, "watermark_set": [mark]}
    [result] = made(upload(clips.video(40)), "transcode", output)
    search = result.facts["quality_search"]
    assert (search["samples"], search["sampled_s"]) == (5, 20)
    assert result.facts["quality"]["mean"] == pytest.approx(85, abs=1)


@pytest.mark.parametrize("codec", ["h265", "av1", "vp9"])
def test_the_search_knows_every_encoder(clips, upload, made, codec):
    video = {"codec": codec, "effort": "fast", "quality_target": 90, "quality": SMALL}
    output = {"name": "x", "container": "webm" if codec == "vp9" else "mp4", "remove_audio": 1, "video_template": video}
    [result] = made(upload(clips.video()), "transcode", output)
    assert result.facts["quality"]["mean"] == pytest.approx(90, abs=1)


def test_progress_goes_on_through_search_encoding_and_scoring(clips, worker, upload, planned):
    video = {**FAST, "quality_target": 90, "quality": SMALL}
    output = {"name": "x", "video_template": video, "audio_template": {"loudness": {}}}
    [subtask] = planned(upload(clips.video()), "transcode", output)
    reports = []
    result = worker.perform(subtask, "run", lambda fraction, _: reports.append(fraction))
    assert reports == sorted(reports)
    assert any(0.1 < fraction < 0.9 for fraction in reports)
    assert reports[-1] == 1
    assert {"quality", "quality_search", "loudness"} <= result.facts.keys()


def test_a_real_clip_reaches_its_target(media_folder, upload, made):
    video = {**FAST, "quality_target": 93, "quality": {"short_side": 540}}
    output = {"name": "x", "remove_audio": 1, "video_template": video, "end_time_offset": 10}
    [result] = made(upload(media_folder / "earth.mov"), "transcode", output)
    assert result.facts["quality"]["mean"] == pytest.approx(93, abs=1)


def test_scored_outputs_are_made_together(clips, worker, upload, planned):
    """Scoring needs no process of its own for the encoding; a search does, as its command is not known before."""
    scored = {"name": "scored", "video_template": {**FAST, "vcrf": 30, "quality": SMALL}}
    searched = {"name": "searched", "video_template": {**FAST, "quality_target": 90, "quality": SMALL}}
    subtasks = planned(upload(clips.video()), "transcode", scored, searched)
    keys = [sharing_key(subtask.plan, subtask.source.media.video) for subtask in subtasks]
    assert keys[0]
    assert keys[1] == ()
