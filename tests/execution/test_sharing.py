"""Outputs that read a source alike are made by one process; each is as if made alone, and publishes or fails by itself."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import shutil
import subprocess
import threading

import imageio_ffmpeg
import pytest
from PIL import Image

from mps_dagster.errors import MpsError, ToolFailed
from mps_dagster.execution.parts import remove_parts
from mps_dagster.execution.produce import Producer
from mps_dagster.execution.progress import progress_store
from mps_dagster.execution.sharing import MAX_DEATHS, Group, Member, Processes, Waiting, member_name, register
from mps_dagster.ffmpeg.measures import AFTER, BEFORE
from mps_dagster.ffmpeg.program import Ffmpeg

# With a bitrate, x264's threads give other bytes each time, in a process of its own, too.
FAST = {"effort": "fast", "mode": "CRF", "vcrf": 23}
SMALL = {"name": "small", "video_template": {"height": 90, **FAST}}
TINY = {"name": "tiny", "video_template": {"height": 60, "fps": 10, **FAST}}
HLS = {"name": "hls", "container": "hls", "video_template": {"height": 90, "hls_time": 1, **FAST}}
FMP4 = {"name": "fmp4", "container": "hls", "video_template": {"height": 90, "segment_type": 7, **FAST}}
SOUND = {"name": "sound", "container": "mp3"}
MARKED = {"name": "marked", "effort": "fast", "watermark_set": [{"type": "text", "text_content": "вот"}]}
SPRITE = {"name": "s", "sample_type": "Time", "sample_interval": 1, "row_count": 1, "column_count": 3}
STILLS = {"name": "stills", "ext_time_offset_set": ["0s", "30%", "70%", "100%"], "format": "png"}
LADDER = {
    "name": "ladder", "format": "HLS", "segment_type": "mp4-mp4-segment",
    "stream_infos": [{"video": {"height": height, **FAST}, "audio": {"codec": "aac"}} for height in (60, 90)],
}  # fmt: skip
POSTER = {"name": "poster", "ext_time_offset_set": ["30%"], "height": 90}
ALL = {
    "transcode": (SMALL, TINY, HLS, FMP4, SOUND), "watermark": (MARKED,), "image_sprite": (SPRITE,),
    "snapshot_by_time_offset": (STILLS, POSTER),
}  # fmt: skip


@pytest.fixture
def together(worker, planned):
    """Subtasks of all these tasks, known to one another as after their break-down."""

    def together(source, **outputs):
        subtasks = [
            subtask.model_copy(update={"task": kind})
            for kind, specs in outputs.items()
            for subtask in planned(source, kind, *specs)
        ]
        run_dir = worker.settings.scratch_dir / "run"
        register(run_dir, [Member(step=f"{subtask.task}[{subtask.id}]", subtask=subtask) for subtask in subtasks])
        return {subtask.label: subtask for subtask in subtasks}

    return together


@pytest.fixture
def counted(monkeypatch):
    """The arguments of each ffmpeg process that ran."""
    ran, run = [], Ffmpeg.run

    def counting(tool, args, **options):
        ran.append(args)
        return run(tool, args, **options)

    monkeypatch.setattr(Ffmpeg, "run", counting)
    return ran


@pytest.fixture
def one_core():
    """With more, x264's lookahead runs in a thread of its own, and gives other bytes in one of a hundred encodes."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    yield
    os.sched_setaffinity(0, cores)


def perform(worker, subtask):
    return worker.perform(subtask, "run", lambda *_: None)


def frames(path) -> str:
    """The md5 of each decoded frame and packet of sound, with its time."""
    argv = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(path), "-map", "0", "-f", "framemd5", "-"]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    "clip",
    [
        pytest.param(lambda clips: clips.video(3), id="plain"),
        pytest.param(lambda clips: clips.variable_rate(), id="variable rate"),
        pytest.param(lambda clips: clips.rotated(90), id="rotated"),
        pytest.param(lambda clips: clips.languages(), id="two audio tracks"),
        pytest.param(lambda clips: clips.changing_picture(), id="sizes that change, in a transport stream"),
        pytest.param(lambda clips: clips.late_picture(), id="a picture that starts late"),
    ],
)
def test_every_output_is_as_if_made_alone(one_core, clips, upload, together, worker, clip):
    """Frame by frame, sample by sample; its facts and its fingerprint, too."""
    subtasks = together(upload(clip(clips)), **ALL)
    if subtasks["sound"].refusal:
        del subtasks["sound"]
    settings = worker.settings.model_copy(update={"share_decoding": False})
    apart = dataclasses.replace(worker, settings=settings)
    for subtask in subtasks.values():
        shared = perform(worker, subtask)
        alone = perform(apart, subtask.model_copy(update={"bucket": "alone"}))
        assert shared.fingerprint == alone.fingerprint
        assert [output.key for output in shared.outputs] == [output.key for output in alone.outputs]
        for output in shared.outputs:
            first, second = (settings.buckets_dir / bucket / output.key for bucket in ("outputs", "alone"))
            if output.role == "main":
                assert frames(first) == frames(second), output.key
            else:
                assert first.read_bytes() == second.read_bytes()


def test_a_source_is_decoded_once_for_its_outputs(clips, upload, together, worker, counted):
    """One process for pictures of the whole, one for stills, one for sound; each result says what was run.

    The pictures that compare a watermarked video with its source are seeks of their own.
    """
    subtasks = together(upload(clips.video(3)), **ALL)
    results = {label: perform(worker, subtask) for label, subtask in subtasks.items()}
    made = [argv for argv in counted if argv[-1] not in (f"file:{BEFORE}", f"file:{AFTER}")]
    assert len(made) == len(counted) - 2
    [whole, sound, stills] = [sum(part.startswith("file:") for part in argv) for argv in made]
    assert (whole, sound, stills) == (2 + 6, 2, 4 + 5)
    assert results["small"].commands == results["marked"].commands
    assert "transcode.0_small/out.mp4" in results["small"].commands[0]
    assert results["sound"].commands != results["small"].commands
    assert not any(result.reused for result in results.values())
    assert results["small"].cpu_s > results["tiny"].cpu_s > 0


def test_each_of_them_is_scored_by_itself(clips, upload, together, worker, counted):
    """On its own progress, which goes on from where the process for both of them ended."""
    quality = {"quality": {"short_side": 360}}
    specs = [{**spec, "video_template": {**spec["video_template"], **quality}} for spec in (SMALL, HLS)]
    subtasks = together(upload(clips.video()), transcode=specs)
    reports = {label: [] for label in subtasks}
    for label, subtask in subtasks.items():
        own = reports[label]
        result = worker.perform(subtask, "run", lambda fraction, _, own=own: own.append(fraction))
        assert result.facts["quality"]["mean"] > 60
        assert result.facts["quality"]["pictures"] == 50
    assert len(counted) == 3, "one for both files, and a scoring each"
    for own in reports.values():
        assert own == sorted(own)
        assert own[-1] == 1
    assert max(step.fraction for step in progress_store(worker.settings).read("run").values()) < 0.8, (
        "the second one's, while the first made both"
    )


def test_outputs_that_stand_are_not_made_again(clips, upload, together, worker, counted):
    """The first member makes the others' files only as far as they lack."""
    subtasks = together(upload(clips.video()), transcode=(SMALL, TINY, HLS))
    perform(
        dataclasses.replace(worker, settings=worker.settings.model_copy(update={"share_decoding": False})),
        subtasks["hls"],
    )
    counted.clear()
    assert not perform(worker, subtasks["small"]).reused
    assert perform(worker, subtasks["hls"]).reused
    assert not perform(worker, subtasks["tiny"]).reused
    assert len(counted) == 1
    assert "file:transcode.2_hls/out.m3u8" not in counted[0]


def test_renditions_of_a_set_that_stands_are_not_made_for_it_again(clips, upload, together, worker, counted):
    """Their own files are gone, as they went into the set; a new output of the same source is made without them."""
    source = upload(clips.video())
    results = [perform(worker, subtask) for subtask in together(source, adaptive_dynamic_streaming=(LADDER,)).values()]
    remove_parts(results[:-1], worker.buckets)
    # The next run has a folder of its own.
    shutil.rmtree(worker.settings.scratch_dir / "run")
    counted.clear()
    subtasks = together(source, transcode=(SMALL,), adaptive_dynamic_streaming=(LADDER,))
    assert not perform(worker, subtasks.pop("small")).reused
    assert [argv[-1] for argv in counted] == ["file:out.mp4"]
    assert all(perform(worker, subtask).reused for subtask in subtasks.values())


def test_a_member_at_fault_fails_alone(clips, upload, together, worker, counted):
    """Its encoder refuses it: what was made together is lost, the others are made alone."""
    subtasks = together(upload(clips.video()), transcode=(SMALL, TINY, HLS))
    plan = subtasks["tiny"].plan
    argv = tuple("nonsense" if part == "libx264" else part for part in plan.commands[0])
    bad = subtasks["tiny"].model_copy(update={"plan": plan.model_copy(update={"commands": (argv,)})})
    register(worker.settings.scratch_dir / "run", [Member(step="tiny", subtask=bad)])
    assert perform(worker, subtasks["small"]).main
    with pytest.raises(ToolFailed, match="nonsense"):
        perform(worker, bad)
    assert perform(worker, subtasks["hls"]).main
    assert len(counted) == 4
    group = Group.of(worker.settings.scratch_dir / "run", subtasks["small"])
    assert [path.name for path in group.work.iterdir()] == ["source"]


def test_outputs_come_though_the_process_for_all_hangs(clips, upload, together, worker, monkeypatch):
    """As ffmpeg 9 does where one graph repeats pictures, and another output is behind."""
    monkeypatch.setattr("mps_dagster.ffmpeg.sharing._keeps_pace", lambda *_: True)
    monkeypatch.setattr("mps_dagster.ffmpeg.program.JOINT_STALL_S", 2)
    subtasks = together(upload(clips.variable_rate()), transcode=(SMALL, TINY, HLS), image_sprite=(SPRITE,))
    for subtask in subtasks.values():
        assert perform(worker, subtask).main


def test_a_watermark_that_is_gone_fails_its_output_alone(clips, upload, together, worker, counted):
    """Before anything is run: the others are made together."""
    logo = worker.settings.templates_dir / "logo.png"
    Image.new("RGB", (8, 8)).save(logo)
    mark = {"name": "logo", "effort": "fast", "watermark_set": [{"image_template": {"image_content": "logo.png"}}]}
    subtasks = together(upload(clips.video()), transcode=(SMALL, TINY), watermark=(mark,))
    logo.unlink()
    assert perform(worker, subtasks["small"]).main
    assert perform(worker, subtasks["tiny"]).main
    assert len(counted) == 1
    with pytest.raises(MpsError, match=r"logo\.png"):
        perform(worker, subtasks["logo"])


def test_a_second_attempt_makes_its_output_alone(clips, upload, together, worker, counted, monkeypatch):
    """The files that were made together went into the first attempt's folder."""
    subtasks = together(upload(clips.video()), transcode=(SMALL, TINY))
    perform(worker, subtasks["small"])
    produce = Producer.produce

    def fails(*args):
        produce(*args)
        raise ToolFailed("after its files were taken")

    with monkeypatch.context() as patch:
        patch.setattr(Producer, "produce", fails)
        with pytest.raises(ToolFailed):
            perform(worker, subtasks["tiny"])
    assert len(counted) == 1
    assert perform(worker, subtasks["tiny"]).main
    assert len(counted) == 2


def test_members_show_the_progress_of_the_process_they_wait_for(clips, upload, together, worker):
    """Before their own steps begin."""
    subtasks = together(upload(clips.video()), transcode=(SMALL, TINY))
    perform(worker, subtasks["small"])
    assert progress_store(worker.settings).read("run").keys() == {"transcode[1_tiny]"}


def test_an_output_without_company_is_made_alone(clips, upload, together, worker, counted):
    subtasks = together(upload(clips.video()), transcode=(SMALL, SOUND))
    assert "transcode.0_small" not in perform(worker, subtasks["small"]).commands[0]


# ------------------------------------------------------------- who makes the files, and who waits


@pytest.fixture
def group(tmp_path) -> Group:
    group = Group(tmp_path / "shared" / "group")
    (group.work / "b").mkdir(parents=True)
    (group.work / "b" / "out.mp4").write_text("b")
    (group.folder / "members").mkdir()
    for name in "abc":
        (group.folder / "members" / f"{name}.json").write_text(f'{{"step": "step_{name}", "subtask": {{}}}}')
    (tmp_path / "into").mkdir()
    return group


def never() -> None:
    raise AssertionError("its files are there")


def test_a_member_takes_the_files_that_were_made_for_it(group, tmp_path):
    """Once."""
    group.settle("b", Processes(wall_s=3))
    assert group.take("b", tmp_path / "into", never).wall_s == 3
    assert (tmp_path / "into" / "out.mp4").read_text() == "b"
    assert group.take("b", tmp_path / "into", never) is None


def test_a_member_waits_for_the_one_that_makes_its_files(group, tmp_path):
    """And takes its place if that one is gone; the lock of a process that dies is free."""
    holder = (group.folder / "lock").open("w")
    fcntl.flock(holder, fcntl.LOCK_EX)
    made = []
    waiting = threading.Thread(target=lambda: group.take("b", tmp_path / "into", lambda: made.append("b")))
    waiting.start()
    waiting.join(0.3)
    assert waiting.is_alive()
    assert not made
    holder.close()
    waiting.join()
    assert made == ["b"]


def test_whoever_makes_nothing_makes_its_own_alone(group, tmp_path):
    """No member waits for ever."""
    assert group.take("b", tmp_path / "into", lambda: None) is None
    assert group.is_settled("b")


def test_an_error_leaves_the_rest_to_the_next_member(group, tmp_path):
    """An interrupt, above all."""

    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        group.take("b", tmp_path / "into", interrupted)
    assert not group.is_settled("b")
    group.take("c", tmp_path / "into", lambda: group.settle("b", None))
    assert group.is_settled("b")


def test_after_some_deaths_members_are_made_alone(group):
    """A process that is killed leaves its mark; one that fails or is interrupted takes it away."""
    begun = group.folder / "begun"
    for _ in range(MAX_DEATHS):
        with group.attempt() as allowed:
            assert allowed
            left = begun.read_bytes()
        # As if it had been killed in the block.
        begun.write_bytes(left)
    with group.attempt() as allowed:
        assert not allowed


@pytest.mark.parametrize(
    ("step", "busy", "settled", "waits"),
    [
        ("step_b", [], "", False),
        ("step_b", ["step_a"], "", True),
        ("step_b", ["step_a"], "b", False),
        ("step_b", ["step_a"], "a", False),
        ("step_b", ["step_a", "step_c"], "a", True),
        ("step_b", ["other"], "", False),
        ("other", ["step_a"], "", False),
    ],
    ids=[
        "nothing runs", "it would only wait", "its files are there", "the other one does not make them", "a third may",
        "another step", "of no group",
    ],
)  # fmt: skip
def test_a_step_whose_files_another_one_makes_needs_no_worker(group, tmp_path, step, busy, settled, waits):
    for name in settled:
        group.settle(name, None)
    assert (step in Waiting(tmp_path).waiting([step], busy)) is waits


def test_members_of_other_sources_do_not_wait(clips, upload, together, worker):
    first = together(upload(clips.video()), transcode=(SMALL,))["small"]
    second = together(upload(clips.video(3)), transcode=(SMALL,))["small"]
    run_dir = worker.settings.scratch_dir / "run"
    assert Group.of(run_dir, first) != Group.of(run_dir, second)
    assert member_name(first) == member_name(second)
