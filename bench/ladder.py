"""An adaptive set compared with one hand-written ffmpeg command (ladder.sh) for the same renditions, on this machine.

    python bench/ladder.py [--seconds 30] [--rounds 3]
    MPS_SHARE_DECODING=false python bench/ladder.py     # one ffmpeg for each rendition

Four renditions and their sound, packaged as HLS in CMAF segments. Prints the ratio of the medians; the two alternate.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

from workflow import PROJECT, dagster, make_source, read_options, shell

from mps_dagster.ffmpeg.program import Ffmpeg
from mps_dagster.settings import Settings

WORKFLOW = """
name: ladder
trigger: {bucket: inbox}
output: {bucket: outputs}
tasks:
  streaming:
    type: adaptive_dynamic_streaming
    outputs:
      - name: web
        format: HLS
        segment_type: mp4-mp4-segment
        stream_infos:
          - {video: {codec: h264, fps: 24, bitrate: 300, height: 240}, audio: &sound {codec: aac, bitrate: 64, sample_rate: 44100}}
          - {video: {codec: h264, fps: 24, bitrate: 700, height: 360}, audio: *sound}
          - {video: {codec: h264, fps: 24, bitrate: 1200, height: 540}, audio: *sound}
          - {video: {codec: h264, fps: 24, bitrate: 2000, height: 720}, audio: *sound}
"""


def main() -> None:
    options = read_options(__doc__)
    with tempfile.TemporaryDirectory(prefix="mps-bench-") as folder:
        root, project, tool = Path(folder), Path(folder) / "project", Ffmpeg.of(Settings())
        source = make_source(tool, root, options.seconds)
        (project / "workflows").mkdir(parents=True)
        (project / "workflows" / "ladder.yaml").write_text(WORKFLOW)
        for name in ("dagster.yaml", "workspace.yaml"):
            (project / name).write_text((PROJECT / name).read_text())
        scripts, runs = [], []
        for number in range(options.rounds):
            scripts.append(shell("ladder.sh", tool, source, root / f"script{number}", options.seconds))
            runs.append(dagster(source, root / f"dagster{number}", project, "ladder"))
            print(f"round {number + 1}: ladder.sh {scripts[-1]:.1f} s, workflow {runs[-1]['wall_s']:.1f} s", flush=True)
        report(scripts, runs)


def report(scripts: list[float], runs: list[dict[str, float]]) -> None:
    wall_s, cpu_s = (statistics.median(run[name] for run in runs) for name in ("wall_s", "cpu_s"))
    ffmpeg_s = statistics.median(run["ffmpeg_cpu_s"] for run in runs)
    print(f"\nworkflow median {wall_s:.1f} s, ladder.sh median {statistics.median(scripts):.1f} s")
    print(f"workflow / script {wall_s / statistics.median(scripts):.2f}")
    print(f"CPU: ffmpeg and packager {ffmpeg_s:.1f} s, orchestration {cpu_s - ffmpeg_s:.1f} s")


if __name__ == "__main__":
    main()
