"""The deployment that is soaked: its project, its settings and its environment."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from deployments import environment_of, with_ports
from projects import make_project

from mps_dagster.execution.staging import RESERVATIONS
from mps_dagster.settings import S3Settings, Settings

LOCAL, REMOTE = "local", "remote"
INBOX, BUCKET_IN, BUCKET_OUT = "inbox", "soak-in", "soak-out"
EVENTS = "events"

WORKFLOWS = {
    LOCAL: """
name: local
trigger: {bucket: inbox}
output: {bucket: outputs, dir: "/{inputDir}/{inputName}/"}
notify: [{type: local, queue: events}]
tasks:
  web:
    type: transcode
    outputs:
      - {name: small, video_template: {height: 90, effort: fast}}
      - {name: hls, container: hls, video_template: {height: 72, effort: fast, hls_time: 1}}
      - {name: sound, raw_parameter: {container: mp3}}
  stills:
    type: snapshot_by_time_offset
    outputs: [{name: still, height: 90, ext_time_offset_set: [0s, 50%]}]
  samples:
    type: sample_snapshot
    outputs: [{name: samples, sample_type: Time, sample_interval: 1, height: 54}]
  scrubbing:
    type: image_sprite
    outputs: [{name: sprite, sample_type: Time, sample_interval: 1, row_count: 2, column_count: 2}]
  branded:
    type: watermark
    outputs: [{name: branded, effort: fast, watermark_set: [{type: text, x_pos: 2%, y_pos: 4%, text_content: soak}]}]
  preview:
    type: animated_graphics
    source: web/small
    outputs: [{name: preview, fps: 4, width: 64}]
""",
    REMOTE: """
name: remote
trigger: {bucket: "s3://soak-in"}
output: {bucket: "s3://soak-out", dir: "/{inputDir}/{inputName}/"}
notify: [{type: local, queue: events}]
tasks:
  web:
    type: transcode
    outputs:
      - {name: small, video_template: {height: 90, effort: fast}}
      - {name: hls, container: hls, video_template: {height: 72, effort: fast, hls_time: 1}}
  scrubbing:
    type: image_sprite
    outputs: [{name: sprite, sample_type: Time, sample_interval: 1, row_count: 2, column_count: 2}]
  teaser:
    type: animated_graphics
    source: web/small
    outputs: [{name: teaser, format: webp, fps: 4, width: 64}]
""",
}


def make_target(folder: Path, s3_address: str, database_url: str) -> Settings:
    """A project whose bucket is reached at that address; without a database's URL, records are in SQLite."""
    settings = with_ports(make_project(folder, **WORKFLOWS))
    s3 = S3Settings(
        endpoint_url=s3_address, region="us-east-1", addressing_style="path",
        access_key_id="test", secret_access_key="test",
    )  # fmt: skip
    settings = settings.model_copy(update={"s3": s3})
    for path in (settings.scratch_dir, settings.home / "tmp"):
        path.mkdir(parents=True)
    # The validated copy, as its processes will have it.
    os.environ |= environment(settings, database_url)
    return Settings()


def environment(settings: Settings, database_url: str = "") -> dict[str, str]:
    """What is set for the deployment, on top of an environment."""
    own = {
        **{name: value for name, value in environment_of(settings).items() if name.startswith("MPS_")},
        "MPS_S3__ENDPOINT_URL": settings.s3.endpoint_url or "", "MPS_S3__REGION": "us-east-1",
        "MPS_S3__ADDRESSING_STYLE": "path", "MPS_S3__ACCESS_KEY_ID": "test", "MPS_S3__SECRET_ACCESS_KEY": "test",
        "DAGSTER_HOME": str(settings.dagster_home),
        # Of its own, to see what is left there.
        "TMPDIR": str(settings.home / "tmp"),
    }  # fmt: skip
    return own | ({"MPS_DATABASE_URL": database_url} if database_url else {})


def free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def left_in_scratch(settings: Settings) -> list[str]:
    """What is left on the scratch disk; the lock of the reservations stays, and the reservations themselves do not."""
    lock = settings.scratch_dir / RESERVATIONS / "lock"
    paths = [path for path in settings.scratch_dir.rglob("*") if path not in (lock, lock.parent)]
    return sorted(str(path.relative_to(settings.scratch_dir)) for path in paths)
