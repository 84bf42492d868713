"""The task types: one module each, with a `Spec` and a pure `plan(spec, media, names) -> Plan`.

`TASKS` is the catalogue, in the order of MPS's task sets. A task starts no process and opens no file; it may import ffmpeg,
media and errors, but no other task.
"""

from collections.abc import Mapping
from typing import Any

from mps_dagster.tasks import (
    adaptive_dynamic_streaming,
    animated_graphics,
    image_sprite,
    quality_inspection,
    sample_snapshot,
    snapshot_by_time_offset,
    transcode,
    watermark,
)
from mps_dagster.tasks.mps import TemplateType
from mps_dagster.tasks.spec import TaskType

TASKS: Mapping[str, TaskType[Any]] = {
    module.TASK.name: module.TASK
    for module in (
        transcode,
        watermark,
        animated_graphics,
        snapshot_by_time_offset,
        sample_snapshot,
        image_sprite,
        adaptive_dynamic_streaming,
        quality_inspection,
    )
}
TEMPLATES: Mapping[str, TemplateType] = {
    **{task.template.kind: task.template for task in TASKS.values() if task.template},
    watermark.TEMPLATE.kind: watermark.TEMPLATE,
}
"""The kinds of templates with actions in the API."""
