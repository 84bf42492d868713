"""How near the search of a CRF comes to its target, what it costs, and what the loudness of outputs is.

    python bench/quality.py [--target 93] [--codec h264] [--effort balanced] [--loudness] CLIP …

Each clip becomes an output in a temporary folder. With --loudness, its sound is brought to -23 LUFS instead. Figures in
docs/tasks.md are from the clips that it names.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from mps_dagster.execution.break_down import break_down
from mps_dagster.execution.perform import Worker
from mps_dagster.settings import Settings
from mps_dagster.storage.buckets import Buckets
from mps_dagster.tasks.result import SubtaskResult
from mps_dagster.workflow.parse import parse_task
from mps_dagster.workflow.templates import Templates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--target", type=float, default=93)
    parser.add_argument("--codec", default="h264")
    parser.add_argument("--effort", default="balanced")
    parser.add_argument("--short-side", type=int, default=1080)
    parser.add_argument("--loudness", action="store_true")
    options = parser.parse_args()
    video = {
        "codec": options.codec,
        "effort": options.effort,
        "quality_target": options.target,
        "quality": {"short_side": options.short_side},
    }
    output: dict[str, Any] = {"name": "x", "container": "mp4", "remove_audio": 1, "video_template": video}
    if options.loudness:
        output = {"name": "x", "container": "m4a", "audio_template": {"codec": "aac", "loudness": {}}}
    for clip in options.clips:
        result = _result(clip, output)
        print(f"{clip.name:<28} {_loudness(result) if options.loudness else _quality(result)}", flush=True)


def _result(clip: Path, output: dict[str, Any]) -> SubtaskResult:
    with tempfile.TemporaryDirectory(prefix="mps-bench-") as folder:
        settings = Settings(project=Path(folder) / "project", home=Path(folder) / "home", settle_s=0)
        settings.templates_dir.mkdir(parents=True)
        worker = Worker.of(settings, Buckets(settings))
        worker.buckets.get("inbox").publish(clip, clip.name)
        source = worker.fetch_source("inbox", clip.name, None, "run")
        document = {"type": "transcode", "outputs": [output]}
        task = parse_task("task", document, {"bucket": "outputs", "dir": "/"}, Templates.load(), where="bench")
        [subtask] = break_down(task, source, worker)
        return worker.perform(subtask, "run", lambda *_: None)


def _quality(result: SubtaskResult) -> str:
    search, quality = result.facts["quality_search"], result.facts["quality"]
    tried = " ".join(f"{each['crf']:g}={each['score']:.1f}" for each in search["tried"])
    second = quality["worst_second"]
    return (
        f"target {search['target']:g}  reached {quality['mean']:.2f}  p1 {quality['p1']:.1f}"
        f"  worst {second['score']:.1f} at {second['at_s']} s  CRF {search['crf']:g}  tried {tried}"
        f"  samples {search['samples']} of {search['sampled_s']:.0f} s in all  search {search['cpu_s']:.0f} CPU s"
        f"  all {result.cpu_s:.0f} CPU s  {result.size_bytes / 1e3:.0f} kB"
    )


def _loudness(result: SubtaskResult) -> str:
    [track] = result.facts["loudness"]["tracks"]
    source, output = track["input"], track["output"]
    return (
        f"from {source['lufs']} LUFS, {source['true_peak_db']} dBTP, LRA {source['range_lu']}"
        f"  to {output['lufs']} LUFS, {output['true_peak_db']} dBTP, LRA {output['range_lu']}"
        f"  gain {track['gain_db']} dB, peaks lowered by {track['limited_db']} dB  {result.cpu_s:.1f} CPU s"
    )


if __name__ == "__main__":
    main()
