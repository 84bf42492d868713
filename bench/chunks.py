"""A long source encoded in chunks against the same encoded whole: time, size, and quality where chunks meet.

    python bench/chunks.py --clip film.webm [--seconds 600] [--chunk-s 120] [--rounds 3] [--video '{"bitrate": 800}']

The source is the clip at 640x360 and 24 pictures per second, then a still of it, then the clip with noise, over and over; what
is shown changes elsewhere than at borders. Subtasks run as in a run, as many at once as there are cores, without Dagster. VMAF is
measured for every picture against the source; "at seams" is a second before and a second after each border.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from mps_dagster.execution.break_down import break_down
from mps_dagster.execution.perform import Worker
from mps_dagster.execution.subtask import Subtask
from mps_dagster.settings import Settings
from mps_dagster.storage.buckets import Buckets
from mps_dagster.tasks.result import SubtaskResult
from mps_dagster.workflow.model import Source
from mps_dagster.workflow.parse import parse_task
from mps_dagster.workflow.templates import Templates

RATE = 24
SECTION_S = 23
"""A prime number of seconds, so that sections end elsewhere than chunks."""
VIDEO = '{"bitrate": 800, "height": 360, "width": 640, "fps": 24}'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clip", type=Path, required=True, help=f"a film of {SECTION_S} s at least")
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--chunk-s", type=float, default=120)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--video", default=VIDEO, help="the video template, as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mps-bench-") as folder:
        whole = Worker.of(settings := _settings(Path(folder)), Buckets(settings))
        # Settings from outside take no shorter sources.
        chunking = settings.model_copy(update={"chunks_from_s": 1.0, "chunk_s": options.chunk_s})
        workers = {"whole": whole, "chunks": replace(whole, settings=chunking)}
        path = _source(whole, options.clip, Path(folder), options.seconds)
        whole.buckets.get("inbox").publish(path, path.name)
        source = whole.fetch_source("inbox", path.name, None, "bench")
        for line in _figures(workers, source, path, json.loads(options.video), options.rounds):
            print(line, flush=True)


def _settings(folder: Path) -> Settings:
    settings = Settings(project=folder / "project", home=folder / "home", settle_s=0)
    settings.templates_dir.mkdir(parents=True)
    return settings


def _source(worker: Worker, clip: Path, folder: Path, seconds: int) -> Path:
    sections, path = folder / "sections.mp4", folder / "source.mp4"
    graph = (
        f"[0:v]scale=640:360,setsar=1,fps={RATE},trim=end={SECTION_S},setpts=PTS-STARTPTS,split=3[film][b][c];"
        f"[b]trim=start=10:end=11,loop={RATE * SECTION_S}:1,setpts=N/{RATE}/TB,trim=end={SECTION_S}[still];"
        "[c]noise=alls=25:allf=t[noisy];[film][still][noisy]concat=n=3"
    )
    encoder = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "14", "-g", str(2 * RATE), "-pix_fmt", "yuv420p")
    _ffmpeg(worker, "-i", str(clip), "-filter_complex", graph, *encoder, str(sections))
    _ffmpeg(worker, "-stream_loop", "-1", "-i", str(sections), "-t", str(seconds), "-c", "copy", str(path))
    return path


def _figures(workers: dict[str, Worker], source: Source, path: Path, video: dict, rounds: int) -> Iterator[str]:
    walls: dict[str, list[float]] = {name: [] for name in workers}
    cpus: dict[str, list[float]] = {name: [] for name in workers}
    files: dict[str, Path] = {}
    starts: list[float] = []
    for number in range(rounds):
        for name in list(workers)[:: 1 if number % 2 else -1]:
            subtasks = _subtasks(workers[name], source, video, f"/{name}{number}/")
            started = time.monotonic()
            results = _perform(workers[name], subtasks)
            walls[name].append(time.monotonic() - started)
            cpus[name].append(sum(result.cpu_s for result in results))
            files[name] = workers[name].settings.buckets_dir / "outputs" / results[-1].main[0].key
            if chunks := subtasks[-1].plan and subtasks[-1].plan.chunks:
                starts = [start / 1e6 for start in chunks.starts_us[1:]]
    yield f"chunks: {len(starts) + 1}; median of pairs, chunks to whole:"
    for what, figures in (("wall time", walls), ("CPU time", cpus)):
        yield f"  {what} {_spread(figures)}; whole {statistics.median(figures['whole']):.1f} s"
    yield f"size: {files['chunks'].stat().st_size / files['whole'].stat().st_size:.3f} of the whole's"
    quality = {name: _vmaf(workers[name], file, path) for name, file in files.items()}
    yield from _seams(quality, starts)


def _spread(figures: dict[str, list[float]]) -> str:
    ratios = [chunked / whole for chunked, whole in zip(figures["chunks"], figures["whole"], strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def _subtasks(worker: Worker, source: Source, video: dict, folder: str) -> tuple[Subtask, ...]:
    document = {"type": "transcode", "outputs": [{"name": "x", "video_template": video}]}
    templates = Templates.load(worker.settings.templates_dir)
    task = parse_task("task", document, {"bucket": "outputs", "dir": folder}, templates, where="bench")
    return break_down(task, source, worker)


def _perform(worker: Worker, subtasks: Sequence[Subtask]) -> list[SubtaskResult]:
    *parts, whole = subtasks
    with ThreadPoolExecutor(worker.settings.cores) as pool:
        made = list(pool.map(lambda part: worker.perform(part, "bench", lambda *_: None), parts))
    return [*made, worker.perform(whole, "bench", lambda *_: None)]


def _vmaf(worker: Worker, output: Path, source: Path) -> np.ndarray:
    """Of each picture."""
    log = output.with_suffix(".json")
    graph = f"[0:v]settb=1/{RATE}[a];[1:v]settb=1/{RATE}[b];[a][b]libvmaf=log_fmt=json:log_path={log}:n_threads=2"
    _ffmpeg(worker, "-i", str(output), "-i", str(source), "-lavfi", graph, "-f", "null", "-")
    return np.array([frame["metrics"]["vmaf"] for frame in json.loads(log.read_text())["frames"]])


def _seams(quality: dict[str, np.ndarray], starts: Sequence[float]) -> Iterator[str]:
    whole, chunked = quality["whole"], quality["chunks"]
    if len(whole) != len(chunked):
        raise SystemExit(f"{len(chunked)} pictures in chunks, {len(whole)} in the whole")
    times = np.arange(len(whole)) / RATE
    at_seams = np.any([np.abs(times - start) < 1 for start in starts], axis=0)
    for name, values in quality.items():
        seams, elsewhere = values[at_seams].mean(), values[~at_seams].mean()
        yield f"VMAF of {name}: {values.mean():.2f}; at seams {seams:.2f}, elsewhere {elsewhere:.2f}"
    better = chunked - whole
    yield f"chunks minus whole: at seams {better[at_seams].mean():+.2f}, elsewhere {better[~at_seams].mean():+.2f}"
    for start in starts:
        before, after = (times >= start - 1) & (times < start), (times >= start) & (times < start + 1)
        yield f"  seam at {start:.0f} s: {better[before].mean():+.2f} before, {better[after].mean():+.2f} after"


def _ffmpeg(worker: Worker, *args: str) -> None:
    subprocess.run([str(worker.ffmpeg.path), "-v", "error", "-nostdin", "-y", *args], check=True)


if __name__ == "__main__":
    main()
