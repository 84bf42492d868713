"""Metadata of sources, subtasks and tasks: what the Dagster UI shows and, as JSON, what the API reads back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import dagster as dg

from mps_dagster.execution.subtask import Subtask, TaskResult
from mps_dagster.media.info import MediaInfo
from mps_dagster.media.inspection import Verdict
from mps_dagster.tasks.result import SubtaskResult
from mps_dagster.workflow.model import Source

Metadata = dict[str, Any]

SHOWN = 12
"""Pictures or findings on one asset's page; more would only slow it."""


def source_metadata(source: Source) -> Metadata:
    return {
        "object": source.uri,
        "size": _size(source.size_bytes),
        "etag": source.etag,
        **_media_metadata(source.media),
        "source": dg.MetadataValue.json(source.model_dump(mode="json")),
    }


def plan_metadata(subtasks: Sequence[Subtask], task: Mapping[str, Any]) -> Metadata:
    """Of a task's break-down: the planned subtasks."""
    fields = {"id", "task", "type", "label", "spec", "bucket", "paths"}
    wholes = [subtask for subtask in subtasks if not subtask.is_part]
    planned = [
        {
            **subtask.model_dump(mode="json", include=fields),
            "override": output.get("override_parameter"),
            **({"parts": {part.id: part.name for part in subtask.parts}} if subtask.parts else {}),
        }
        for subtask, output in zip(wholes, task.get("outputs", ()), strict=True)
    ]
    return {"subtasks": dg.MetadataValue.json(planned)}


def subtask_metadata(result: SubtaskResult, files_url: str) -> Metadata:
    main = result.main[0]
    return {
        "preview": dg.MetadataValue.md(_picture(result, files_url) or "no picture"),
        "path": f"{result.bucket}/{main.key}",
        "files": result.files,
        "size": _size(result.size_bytes),
        "md5": main.md5,
        **({"verdict": verdict.summary, "findings": _findings(verdict)} if (verdict := result.verdict) else {}),
        **({"resolution": f"{main.width} x {main.height}"} if main.width else {}),
        **(_media_metadata(main.media) if main.media else {}),
        "command": dg.MetadataValue.md("\n".join(f"```\n{command}\n```" for command in result.commands)),
        "ffmpeg": result.ffmpeg_version,
        "source": result.source_uri,
        "revision": result.revision,
        **({"made by": dg.MetadataValue.dagster_run(result.run_id)} if result.run_id else {}),
        "cpu_s": round(result.whole_cpu_s, 2),
        "wall_s": round(result.wall_s, 2),
        "speed": round(result.speed, 2),
        "memory_mb": round(result.memory_bytes / 1e6),
        **result.figures,
        "stood_already": result.reused,
        "result": dg.MetadataValue.json(result.model_dump(mode="json")),
    }


def task_metadata(result: TaskResult, files_url: str) -> Metadata:
    pictures = [picture for picture in (_picture(member, files_url) for member in result.results) if picture]
    return {
        "preview": dg.MetadataValue.md("\n\n".join(pictures[:SHOWN]) or "no pictures"),
        "outputs": dg.MetadataValue.table([_row(member) for member in result.results]),
        **{f"verdict {m.label}": m.verdict.summary for m in result.results if m.verdict},
        **{f"findings {m.label}": _findings(m.verdict) for m in result.results if m.verdict},
        "commands": dg.MetadataValue.md(
            "\n".join(f"**{m.label}**\n```\n{command}\n```" for m in result.results for command in m.commands[:3])
        ),
        "manifest": f"{result.results[0].bucket}/{result.manifest_key}",
        "source": result.source.uri,
        "revision": result.results[0].revision,
        "ffmpeg": ", ".join(sorted({member.ffmpeg_version for member in result.results})),
        "specs": dg.MetadataValue.json({member.label: member.spec for member in result.results}),
        "subtasks": len(result.results),
        "size_bytes": sum(member.size_bytes for member in result.results),
        "cpu_s": round(sum(member.whole_cpu_s for member in result.results), 2),
        # Of the asset, so Dagster plots them over its partitions: one line for each output.
        **{f"{name}_{member.label}": value for member in result.results for name, value in member.figures.items()},
    }


def _row(result: SubtaskResult) -> dg.TableRecord:
    main = result.main[0]
    media = main.media
    return dg.TableRecord(
        {
            "output": result.label, "path": main.key, "files": result.files, "size": _size(result.size_bytes),
            "width x height": f"{main.width} x {main.height}" if main.width else "",
            "seconds": round(media.duration_s, 3) if media else 0.0, "codecs": media.codecs if media else "",
            "kbit/s": round(media.bitrate_bps / 1000) if media else 0, "md5": main.md5,
            "CPU s": round(result.whole_cpu_s, 2), "speed": f"{result.speed:.2f}x", "stood already": result.reused,
        }
    )  # fmt: skip


def _findings(verdict: Verdict) -> dg.TableMetadataValue:
    rows = [
        {"check": item.check, "from": round(item.start_s, 2), "to": round(item.end_s, 2), "confidence": item.confidence,
         "what": item.message}
        for item in verdict.findings[:SHOWN]
    ]  # fmt: skip
    names = {"check": "string", "from": "float", "to": "float", "confidence": "int", "what": "string"}
    schema = dg.TableSchema([dg.TableColumn(name, kind) for name, kind in names.items()])
    return dg.MetadataValue.table([dg.TableRecord(row) for row in rows], schema)


def _media_metadata(media: MediaInfo) -> Metadata:
    video = media.video
    facts: Metadata = {
        "duration_s": round(media.duration_s, 3),
        "codecs": media.codecs,
        "bitrate_kbps": round(media.bitrate_bps / 1000),
    }
    if video:
        facts["resolution"] = "{} x {}".format(*video.display_size)
        facts["frame_rate"] = round(float(video.frame_rate), 3) if video.frame_rate else "variable"
    return facts


def _picture(result: SubtaskResult, files_url: str) -> str:
    """Markdown. The UI shows an http address inline; a data: address would be collapsed and bloat the event log."""
    if not result.preview_key:
        return ""
    address = f"{files_url}/{quote(result.bucket, safe='')}/{quote(result.preview_key)}"
    return f"{result.label}\n\n![{result.label}]({address})"


def _size(size: int) -> str:
    value = float(size)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.2f} GB"
