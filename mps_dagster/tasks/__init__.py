"""What the product can do: one module a task type, each a `Spec` and a pure `plan(spec, media, names) -> Plan`.

`TASKS` is the catalogue. Starts nothing, opens nothing; may import ffmpeg, media and errors, but no other task.
"""

from collections.abc import Mapping
from typing import Any

from mps_dagster.tasks import (
    animated_graphics,
    image_sprite,
    sample_snapshot,
    snapshot_by_time_offset,
    transcode,
    watermark,
)
from mps_dagster.tasks.spec import TaskType

TASKS: Mapping[str, TaskType[Any]] = {
    module.TASK.name: module.TASK
    for module in (transcode, watermark, snapshot_by_time_offset, sample_snapshot, image_sprite, animated_graphics)
}
