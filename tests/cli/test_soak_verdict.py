"""The soak's verdict finds what it looks for."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from projects import make_project
from soak.verdict import Verdict, probed

from mps_dagster.media.probe import probe
from mps_dagster.storage.memory import MemoryBucket
from mps_dagster.tasks.result import OutputObject


def output(key: str, content: bytes, **facts) -> OutputObject:
    return OutputObject(key=key, role="main", size_bytes=len(content), etag="e", md5="m", **facts)


def problems(tmp_path, result: OutputObject, content: bytes) -> list[str]:
    return list(probed(MemoryBucket("outputs"), SimpleNamespace(segments=None), result, content, tmp_path))


def test_a_whole_output_has_no_problem(clips, tmp_path):
    clip, picture = clips.video(), clips.image()
    assert problems(tmp_path, output("clip.mp4", b"", media=probe(clip)), clip.read_bytes()) == []
    assert problems(tmp_path, output("a.png", b"", width=320, height=180), picture.read_bytes()) == []


@pytest.mark.parametrize("share", [0.0, 0.1, 0.6, 0.9])
def test_an_output_that_was_cut_off_is_found(clips, tmp_path, share):
    for path, facts in (
        (clips.video(), {"media": probe(clips.video())}),
        (clips.image(), {"width": 320, "height": 180}),
    ):
        content = path.read_bytes()
        assert problems(tmp_path, output(path.name, content, **facts), content[: int(len(content) * share)])


def test_another_length_than_recorded_is_found(clips, tmp_path):
    longer = clips.video(10)
    assert problems(tmp_path, output("clip.mp4", b"", media=probe(clips.video())), longer.read_bytes())


def test_what_is_left_behind_is_found(tmp_path):
    settings = make_project(tmp_path)
    history = SimpleNamespace(open_runs=lambda: ["4711 (STARTED)"])
    for path in ("scratch/run/source", "progress/run/step.json", "tmp/rest", "buckets/outputs/.mps-1", "a.part"):
        (settings.home / path).parent.mkdir(parents=True, exist_ok=True)
        (settings.home / path).write_bytes(b"")
    verdict = Verdict(settings, history, None, {})
    verdict.check_rest(free_before=2**30, free_now=2**29)
    for words in (
        "0 daemons",
        "run 4711",
        "scratch holds 2: run",
        "progress holds 1",
        "tmp holds 1",
        ".mps-1",
        "a.part",
        "bytes less",
    ):
        assert any(words in violation for violation in verdict.violations), words
