"""Metadata of sources, subtasks and tasks: what the Dagster UI shows and, as JSON, what the API reads back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import dagster as dg

from mps_dagster.execution.subtask import Subtask, TaskResult
from mps_dagster.media.info import MediaInfo
from mps_dagster.tasks.result import SubtaskResult
from mps_dagster.workflow.model import Source

Metadata = dict[str, Any]

SHOWN = 12
"""Pictures on one asset's page; more would only slow it."""


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
    planned = [
        {**subtask.model_dump(mode="json", include=fields), "override": output.get("override_parameter")}
        for subtask, output in zip(subtasks, task.get("outputs", ()), strict=True)
    ]
    return {"subtasks": dg.MetadataValue.json(planned)}


def subtask_metadata(result: SubtaskResult, files_url: str) -> Metadata:
    main = result.main[0]
    return {
        "preview": dg.MetadataValue.md(_picture(result, files_url) or "no picture"),
        "path": f"{result.bucket}/{main.key}",
        "files": _files(result),
        "size": _size(result.size_bytes),
        "md5": main.md5,
        **({"resolution": f"{main.width} x {main.height}"} if main.width else {}),
        **(_media_metadata(main.media) if main.media else {}),
        "command": dg.MetadataValue.md("\n".join(f"```\n{command}\n```" for command in result.commands)),
        "ffmpeg": result.ffmpeg_version,
        "source": result.source_uri,
        "revision": result.revision,
        **({"made by": dg.MetadataValue.dagster_run(result.run_id)} if result.run_id else {}),
        "cpu_s": round(result.cpu_s, 2),
        "wall_s": round(result.wall_s, 2),
        "speed": round(result.speed, 2),
        "memory_mb": round(result.memory_bytes / 1e6),
        "stood_already": result.reused,
        "result": dg.MetadataValue.json(result.model_dump(mode="json")),
    }


def task_metadata(result: TaskResult, files_url: str) -> Metadata:
    pictures = [picture for picture in (_picture(member, files_url) for member in result.results) if picture]
    return {
        "preview": dg.MetadataValue.md("\n\n".join(pictures[:SHOWN]) or "no pictures"),
        "outputs": dg.MetadataValue.table([_row(member) for member in result.results]),
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
        "cpu_s": round(sum(member.cpu_s for member in result.results), 2),
    }


def _files(result: SubtaskResult) -> int:
    return len(result.outputs) + (result.segments.count if result.segments else 0)


def _row(result: SubtaskResult) -> dg.TableRecord:
    main = result.main[0]
    media = main.media
    return dg.TableRecord(
        {
            "output": result.label, "path": main.key, "files": _files(result), "size": _size(result.size_bytes),
            "width x height": f"{main.width} x {main.height}" if main.width else "",
            "seconds": round(media.duration_s, 3) if media else 0.0, "codecs": _codecs(media),
            "kbit/s": round(media.bitrate_bps / 1000) if media else 0, "md5": main.md5,
            "CPU s": round(result.cpu_s, 2), "speed": f"{result.speed:.2f}x", "stood already": result.reused,
        }
    )  # fmt: skip


def _media_metadata(media: MediaInfo) -> Metadata:
    video = media.video
    facts: Metadata = {
        "duration_s": round(media.duration_s, 3),
        "codecs": _codecs(media),
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


def _codecs(media: MediaInfo | None) -> str:
    if media is None:
        return ""
    video = [media.video.codec] if media.video else []
    return " + ".join([*video, *(audio.codec for audio in media.audio)])


def _size(size: int) -> str:
    value = float(size)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.2f} GB"
