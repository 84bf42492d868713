"""`SubtaskResult`: the objects that one subtask published, and what they cost. Read from and written as JSON."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from mps_dagster.frozen import Facts
from mps_dagster.media.info import MediaInfo
from mps_dagster.media.inspection import Verdict
from mps_dagster.streaming.segments import Segments


class OutputObject(Facts):
    """One published object."""

    key: str
    role: Literal["main", "segment", "index"]
    """`segment` is an fMP4 header; in results of earlier versions, each segment. `index` is read by players or programs."""
    size_bytes: int
    etag: str
    md5: str
    width: int | None = None
    height: int | None = None
    media: MediaInfo | None = None
    """For video, audio and animations."""


class SegmentSet(Facts):
    """The segments of an HLS output, in one record: a film has thousands."""

    names: Segments
    """How they are numbered."""
    count: int
    size_bytes: int
    digest: str
    """Of each one's key, size and etag."""

    @property
    def keys(self) -> list[str]:
        return [self.names.key(index) for index in range(self.count)]


class SubtaskResult(Facts):
    """The outputs of one subtask and their cost."""

    id: str
    task: str
    type: str
    label: str
    bucket: str
    source_uri: str
    spec: dict[str, Any]
    outputs: tuple[OutputObject, ...]
    segments: SegmentSet | None = None
    tracks: tuple[SegmentSet, ...] = ()
    """The segments of each track of an adaptive set, and its thumbnails."""
    parts: tuple[SubtaskResult, ...] = ()
    """How the files were made that went into the output; they are not kept."""
    facts: dict[str, Any] = Field(default_factory=dict)
    preview_key: str = ""
    commands: tuple[str, ...] = ()
    """As they were run, ready for a shell."""
    ffmpeg_version: str = ""
    media_s: float = 0.0
    """Seconds of media processed."""
    wall_s: float = 0.0
    cpu_s: float = 0.0
    memory_bytes: int = 0
    fingerprint: str = ""
    revision: str = ""
    """The latest revision of the task that has this output."""
    run_id: str = ""
    """The Dagster run that made it."""
    reused: bool = False
    """True if all outputs were up to date already."""

    @property
    def main(self) -> tuple[OutputObject, ...]:
        return tuple(output for output in self.outputs if output.role == "main")

    @property
    def paths(self) -> list[str]:
        """Paths of the main outputs, with MPS's leading slash."""
        return [f"/{output.key}" for output in self.main]

    @property
    def figures(self) -> dict[str, float]:
        """What was measured, as numbers by name: `vmaf`, `vmaf_p1`, `loudness_lufs` … Of several tracks, the first one's.

        Those of parts have the part's name in front: `picture_0_vmaf`.
        """
        quality, search = self.facts.get("quality"), self.facts.get("quality_search")
        figures: dict[str, float | None] = {}
        if quality:
            metric = quality["metric"]
            names = {"mean": metric, "harmonic_mean": f"{metric}_harmonic_mean", "p1": f"{metric}_p1"}
            figures |= {name: quality.get(fact) for fact, name in names.items()}
            figures[f"{metric}_worst_second"] = quality["worst_second"]["score"]
        if search:
            figures |= {"crf": search["crf"], "quality_search_cpu_s": search["cpu_s"]}
        if loudness := self.facts.get("loudness"):
            output = loudness["tracks"][0]["output"]
            names = {"loudness_lufs": "lufs", "true_peak_db": "true_peak_db", "loudness_range_lu": "range_lu"}
            figures |= {name: output[fact] for name, fact in names.items()}
        own = {name: float(value) for name, value in figures.items() if value is not None}
        parts = {part.id.partition("_")[2]: part.figures for part in self.parts}
        return own | {f"{part}_{name}": value for part, of in parts.items() for name, value in of.items()}

    @property
    def pictures(self) -> list[str]:
        """Keys of the pictures that show the output to people."""
        return [key for key in (self.preview_key, *self.facts.get("comparison", {}).values()) if key]

    @property
    def verdict(self) -> Verdict | None:
        """What an inspection found; None for other outputs."""
        found = self.facts.get("inspection")
        return None if found is None else Verdict.model_validate(found)

    @property
    def watermark_definitions(self) -> list[int]:
        """IDs of the watermark templates used; names are left out, as MPS has numbers only."""
        marks = self.spec.get("watermark_set") or []
        return [mark["definition"] for mark in marks if isinstance(mark.get("definition"), int) and mark["definition"]]

    @property
    def size_bytes(self) -> int:
        return sum(output.size_bytes for output in self.outputs) + sum(one.size_bytes for one in self.segment_sets)

    @property
    def keys(self) -> list[str]:
        """Keys of all published objects."""
        return [output.key for output in self.outputs] + [key for one in self.segment_sets for key in one.keys]

    @property
    def segment_sets(self) -> tuple[SegmentSet, ...]:
        return (*((self.segments,) if self.segments else ()), *self.tracks)

    @property
    def files(self) -> int:
        """Number of published objects."""
        return len(self.outputs) + sum(one.count for one in self.segment_sets)

    @property
    def whole_cpu_s(self) -> float:
        """With that of its parts."""
        return self.cpu_s + sum(part.cpu_s for part in self.parts)

    @property
    def speed(self) -> float:
        """Media seconds per second."""
        return self.media_s / self.wall_s if self.wall_s else 0.0
