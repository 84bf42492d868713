"""Measures of a subtask's output: loudness and the search of a CRF before it is made, its scores afterwards."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mps_dagster.errors import MpsError, OutputRejected
from mps_dagster.execution.progress import Report
from mps_dagster.execution.sharing import Processes
from mps_dagster.ffmpeg.crf import TOLERANCE, best_crf, next_crf
from mps_dagster.ffmpeg.loudness import Gain, Level, Trial, best_trial, next_gain, output_facts, summaries, track_facts
from mps_dagster.ffmpeg.measures import CRF, GAIN, THREADS, Argv, CrfSearch, LoudnessSearch, Scoring, fill
from mps_dagster.ffmpeg.plan import Plan
from mps_dagster.ffmpeg.process import Completed
from mps_dagster.ffmpeg.program import Ffmpeg
from mps_dagster.ffmpeg.progress import Progress
from mps_dagster.ffmpeg.quality import Scores, pooled, quality_facts

log = logging.getLogger(__name__)

ENCODING, LOUDNESS, SEARCH, SCORING = 6, 1, 6, 3
"""About how long each takes, relative to the others."""
MAX_THREADS = 8
"""Of a scoring; each holds pictures, and memory is limited."""
NEXT_STEP = 0.4
"""Of what is left of a search's progress, the part that its next step takes."""


@dataclass(frozen=True, slots=True)
class Stages:
    """The parts of a subtask's progress: measures, encoding, scoring."""

    measured: float
    encoded: float

    @classmethod
    def of(cls, plan: Plan) -> Stages:
        before = sum(LOUDNESS if isinstance(each, LoudnessSearch) else SEARCH for each in plan.measures)
        whole = before + ENCODING + (SCORING if plan.scoring else 0)
        return cls(before / whole, (before + ENCODING) / whole)

    def measuring(self, report: Report) -> Report:
        return _part(report, 0.0, self.measured)

    def encoding(self, report: Report) -> Report:
        return _part(report, self.measured, self.encoded)

    def scoring(self, report: Report) -> Report:
        return _part(report, self.encoded, 1.0)


@dataclass(slots=True)
class Meter:
    """Runs the measures of one subtask in its work folder, and adds up what they cost."""

    ffmpeg: Ffmpeg
    folder: Path
    wall_s: float
    """The limit of each process."""
    report: Report
    processes: Processes = field(default_factory=Processes)

    def prepare(self, plan: Plan) -> Plan:
        """Take the measures of a plan; return it with the slots of its commands filled in."""
        values: dict[str, str] = {}
        tracks = []
        for number, measure in enumerate(plan.measures):
            steps = _Steps(self.report, number / len(plan.measures), (number + 1) / len(plan.measures))
            if isinstance(measure, LoudnessSearch):
                source, gain = self._find_gain(measure, steps)
                values[measure.slot] = gain.filters(measure.sample_rate_hz)
                tracks.append(track_facts(source, gain))
            else:
                values[CRF] = self._find_crf(measure, steps)
        if tracks:
            self._add(loudness={"tracks": tracks})
        return plan.model_copy(update={"commands": tuple(fill(argv, values) for argv in plan.commands)})

    def check(self, plan: Plan) -> Processes:
        """Measure the finished output."""
        searches = [measure for measure in plan.measures if isinstance(measure, LoudnessSearch)]
        if searches:
            self._check_loudness(searches)
        if plan.scoring:
            scores = self._score(plan.scoring, self.report, shown=True)
            self._add(quality=quality_facts(plan.scoring, scores))
        self._compare(plan.comparison)
        return self.processes

    def _compare(self, commands: Sequence[Argv]) -> None:
        """Make pictures for people: the output is as good without them."""
        try:
            for command in commands:
                self._run(command, 0.0, _silently)
        except MpsError as error:
            log.warning("the watermarks are not shown on the page: %s", error)

    def _check_loudness(self, searches: Sequence[LoudnessSearch]) -> None:
        measured = self.processes.facts["loudness"]["tracks"]
        tracks = []
        for search, track in zip(searches, measured, strict=True):
            output = summaries(self._run(search.measure_output, search.duration_s, _silently).stderr)[-1]
            tracks.append({**track, **output_facts(search, output)})
        goal = {"target_lufs": searches[0].target_lufs, "true_peak_db": searches[0].true_peak_db}
        self._add(loudness={**goal, "tracks": tracks})

    def _find_gain(self, search: LoudnessSearch, steps: _Steps) -> tuple[Level, Gain]:
        levels = summaries(self._run(search.measure, search.duration_s, steps.next(), shown=True).stderr)
        # A track that changes its format has several meters, one after the other; once encoded, it has one format.
        source = levels[0] if len(levels) <= 1 else self._level_with(Gain(), search, steps.next())
        trials: list[Trial] = []
        while gain := next_gain(search, source, trials):
            trials.append(Trial(gain, self._level_with(gain, search, steps.next())))
        return source, best_trial(search, trials).gain if trials else Gain()

    def _level_with(self, gain: Gain, search: LoudnessSearch, report: Report) -> Level:
        """Of the track, encoded with this gain."""
        trial = fill(search.trial, {GAIN: gain.filters(search.sample_rate_hz)})
        self._run(trial, search.duration_s, report)
        return summaries(self._run(search.measure_trial, search.duration_s, _silently).stderr)[-1]

    def _find_crf(self, search: CrfSearch, steps: _Steps) -> str:
        tried: dict[float, float] = {}
        before = self.processes
        while (crf := next_crf(search, tried)) is not None:
            tried[crf] = self._try(search, crf, steps.next())
        best = best_crf(search, tried)
        sampled_s = sum(sample.scoring.duration_s for sample in search.samples)
        self._add(
            quality_search={
                "target": search.target, "crf": best, "score": round(tried[best], 2),
                "reached": abs(tried[best] - search.target) <= TOLERANCE,
                "tried": [{"crf": crf, "score": round(score, 2)} for crf, score in tried.items()],
                "samples": len(search.samples), "sampled_s": round(sampled_s, 2),
                "cpu_s": round(self.processes.cpu_s - before.cpu_s, 2),
                "wall_s": round(self.processes.wall_s - before.wall_s, 2),
            }
        )  # fmt: skip
        return f"{best:g}"

    def _try(self, search: CrfSearch, crf: float, report: Report) -> float:
        """The score of all samples, encoded with this CRF."""
        scores = []
        for number, sample in enumerate(search.samples):
            of_sample = _part(report, number / len(search.samples), (number + 1) / len(search.samples))
            duration_s = sample.scoring.duration_s
            self._run(fill(sample.encode, {CRF: f"{crf:g}"}), duration_s, _part(of_sample, 0.0, 0.5))
            scores.append(self._score(sample.scoring, _part(of_sample, 0.5, 1.0)))
        return pooled(scores)

    def _score(self, scoring: Scoring, report: Report, *, shown: bool = False) -> Scores:
        command = fill(scoring.command, {THREADS: str(min(self.ffmpeg.cores, MAX_THREADS))})
        self._run(command, scoring.duration_s, report, shown=shown)
        scores = Scores.read(scoring.metric, self.folder)
        if not scores.values:
            raise OutputRejected("the output has no picture that could be scored")
        return scores

    def _run(self, argv: Argv, media_s: float, report: Report, *, shown: bool = False) -> Completed:
        """Run one process; `shown` adds its command to those of the result."""

        def on_progress(progress: Progress) -> None:
            report(min(0.99, progress.out_time_s / media_s) if media_s else 0.0, progress.speed)

        ran = self.ffmpeg.run(argv, cwd=self.folder, on_progress=on_progress, wall_s=self.wall_s)
        self.processes = self.processes.plus(argv, ran)
        if not shown:
            self.processes = self.processes.model_copy(update={"commands": self.processes.commands[:-1]})
        return ran

    def _add(self, **facts: Any) -> None:
        self.processes = self.processes.model_copy(update={"facts": {**self.processes.facts, **facts}})


@dataclass(slots=True)
class _Steps:
    """Progress of steps whose number is not known: each takes a part of what is left."""

    report: Report
    start: float
    end: float

    def next(self) -> Report:
        begin = self.start
        self.start += NEXT_STEP * (self.end - begin)
        return _part(self.report, begin, self.start)


def _part(report: Report, start: float, end: float) -> Report:
    return lambda fraction, speed: report(start + (end - start) * fraction, speed)


def _silently(_fraction: float, _speed: float) -> None:
    """For steps that take no time."""
