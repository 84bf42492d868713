"""Which ffmpeg is used; runs its commands and the probe with the limits of the settings."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import imageio_ffmpeg

from mps_dagster.errors import ContentMalformed, ToolFailed
from mps_dagster.ffmpeg.plan import SOURCE
from mps_dagster.ffmpeg.process import Completed, Limits, run
from mps_dagster.ffmpeg.progress import Progress
from mps_dagster.media.info import MediaInfo
from mps_dagster.media.probe import parse_child
from mps_dagster.settings import Settings

GLOBAL_ARGS = ("-hide_banner", "-nostdin", "-y", "-loglevel", "warning", "-nostats", "-progress", "pipe:1")
REREADS = 20
SHORT_S, SHORT_FRAMES = 600, 15_000
PROBED_BYTES_PER_S = 5_000_000
JOINT_STALL_S = 20.0
"""After so long without movement, a process for several subtasks is ended; each of them can be carried out alone."""
NICENESS = 10
"""For encoding, so that probes, the UI, the API and the daemons need not wait for CPU."""


@dataclass(frozen=True, slots=True)
class Ffmpeg:
    """The program and the limits of its processes."""

    path: Path
    limits: Limits
    """For a process with one output."""
    max_pixels: int
    cores: int = 1

    @classmethod
    def of(cls, settings: Settings) -> Ffmpeg:
        limits = Limits(
            settings.subtask_timeout_s, settings.stall_timeout_s, settings.memory_limit_bytes, niceness=NICENESS
        )
        return cls(
            settings.ffmpeg or Path(imageio_ffmpeg.get_ffmpeg_exe()), limits, settings.max_pixels, settings.cores
        )

    @property
    def version(self) -> str:
        return _version(self.path, self.limits)

    def run(
        self,
        args: tuple[str, ...],
        *,
        cwd: Path,
        on_progress: Callable[[Progress], None],
        on_message: Callable[[str], object] | None = None,
        wall_s: float | None = None,
        members: int = 1,
    ) -> Completed:
        """Run one process for the outputs of some subtasks in `cwd`; raise the fitting error if it fails.

        `wall_s` is the time for one of them; empty = the setting's.
        """
        progress = Progress()

        def on_line(line: str) -> bool:
            nonlocal progress
            before, progress = progress, progress.advance(line)
            if line.startswith("progress="):
                on_progress(progress)
            return (progress.out_time_s, progress.frame) != (before.out_time_s, before.frame)

        limits = replace(self._limits(members, wall_s or self.limits.wall_s), read_bytes=_read_limit(cwd / SOURCE))
        process = run(
            [str(self.path), *GLOBAL_ARGS, *args], cwd=cwd, limits=limits, on_line=on_line, on_message=on_message
        )
        if process.ended_by:
            where = f"at {progress.out_time_s:.1f} s of its output, frame {progress.frame}"
            process = replace(process, ended_by=f"{process.ended_by}; it was {where}")
        return process.check()

    def _limits(self, members: int, wall_s: float) -> Limits:
        """One process for several subtasks may use the time of all, and the memory of as many as would run at once."""
        if members == 1:
            return replace(self.limits, wall_s=wall_s)
        return replace(
            self.limits,
            stall_s=min(self.limits.stall_s, JOINT_STALL_S),
            wall_s=wall_s * members,
            memory_bytes=self.limits.memory_bytes * min(members, self.cores),
        )

    def time_limit_s(self, media: MediaInfo) -> float:
        """The setting's limit, for ten minutes of media, or in proportion for more.

        By frames, too: two of them may claim to last for a day.
        """
        work = media.duration_s / SHORT_S
        if media.video:
            work = min(work, media.video.frames / SHORT_FRAMES)
        return self.limits.wall_s * max(1.0, work)

    def probe(self, path: Path, *, wall_s: float = 300) -> MediaInfo:
        """Probe an untrusted file in a separate process, which a hostile file may crash or exhaust. It reads all of it."""
        limits = Limits(
            wall_s=wall_s + path.stat().st_size // PROBED_BYTES_PER_S, stall_s=min(wall_s, self.limits.stall_s),
            memory_bytes=min(self.limits.memory_bytes, 4 * 2**30), output_bytes=0, read_bytes=_read_limit(path),
        )  # fmt: skip
        module = ("-I", "-m", "mps_dagster.media.probe")
        argv = [sys.executable, *module, str(path), "--max-pixels", str(self.max_pixels)]
        process = run(argv, cwd=path.parent, limits=limits)
        if process.ended_by:
            raise ContentMalformed(f"the probe of this file was stopped: {process.ended_by}")
        return parse_child(process.stdout, process.returncode)


def _read_limit(source: Path) -> int:
    """More than a demuxer reads that jumps between badly interleaved streams."""
    return 2**30 + REREADS * (source.stat().st_size if source.exists() else 0)


@functools.lru_cache(maxsize=4)
def _version(path: Path, limits: Limits) -> str:
    try:
        process = run([str(path), "-version"], cwd=Path.cwd(), limits=limits).check()
    except OSError as error:
        raise ToolFailed(f"cannot run ffmpeg at {path}: {error}", hint="set MPS_FFMPEG to a working ffmpeg") from error
    words = process.stdout.split()
    if words[:2] != ["ffmpeg", "version"] or len(words) < 3:
        raise ToolFailed(f"{path} is not ffmpeg: `-version` says {process.stdout[:80]!r}", hint="set MPS_FFMPEG")
    return words[2]
