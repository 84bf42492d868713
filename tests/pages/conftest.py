"""A source that went through a workflow, its page in the bucket, and a browser."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest
from orchestration.conftest import furnished
from players.programs import FLAGS, browser, node_modules, why_not
from players.site import site
from playwright.sync_api import Browser, sync_playwright
from projects import make_project

from mps_dagster.orchestration.notifications import Notifier
from mps_dagster.workflow.project import Project

FILM = """
name: film
trigger: {bucket: inbox}
output: {bucket: outputs, dir: /film/}
tasks:
  ladder:
    type: adaptive_dynamic_streaming
    outputs:
      - name: ladder
        format: HLS
        segment_type: mp4-mp4-segment
        stream_infos:
          - {video: {codec: h264, height: 180, bitrate: 300, effort: fast}, audio: {codec: aac, bitrate: 64, sample_rate: 44100}}
          - {video: {codec: h264, height: 90, bitrate: 100, effort: fast}, audio: {codec: aac, bitrate: 64, sample_rate: 44100}}
  web:
    type: transcode
    outputs:
      - {name: small, video_template: {height: 90, effort: fast}}
      - {name: late, start_time_offset: 500, video_template: {height: 90}}
  stills:
    type: snapshot_by_time_offset
    outputs: [{definition: 10, ext_time_offset_set: [0s, 50%]}]
  scrubbing:
    type: image_sprite
    outputs: [{name: sprite, sample_type: Time, sample_interval: 1, row_count: 2, column_count: 2, width: 64, height: 36}]
  branded:
    type: watermark
    outputs:
      - name: branded
        effort: fast
        watermark_set: [{type: text, coordinate_origin: TopLeft, x_pos: 5%, y_pos: 5%, text_content: "<b>A & B</b>"}]
"""
KEY = "a film & <i>more.mp4"


@dataclass(frozen=True)
class Written:
    """A page in a bucket, and a plain web server in front of that."""

    bucket: Path
    run: dg.DagsterRun
    address: str
    """Of the bucket."""

    @property
    def page(self) -> str:
        return f"{self.address}/{self.run.tags['mps/page'].partition('/')[2]}"

    @property
    def index(self) -> str:
        return f"{self.address}/_mps/pages/index.html"


@pytest.fixture(scope="session")
def written(clips, tmp_path_factory) -> Iterator[Written]:
    """The page of a run in which one output failed."""
    folder = tmp_path_factory.mktemp("pages")
    settings = make_project(folder, film=FILM)
    (folder / "instance").mkdir()
    with dg.DagsterInstance.local_temp(str(folder / "instance")) as instance:
        house = furnished(settings, instance)
        house.upload(clips.video(6), KEY)
        run_id = house.run(KEY, "film").run_id
        notifier = Notifier(settings, {flow.name: flow for flow in Project.load(settings).workflows})
        notifier.add_end(instance, instance.get_run_by_id(run_id))
        run = instance.get_run_by_id(run_id)
    bucket = settings.buckets_dir / "outputs"
    with site(bucket, node_modules()) as served:
        yield Written(bucket, run, f"{served.address}/media")


@pytest.fixture(scope="module")
def chromium(written) -> Iterator[Browser]:
    """Opened after the run, and closed before tests of other modules: until then, Playwright has an event loop running in this
    thread, beside which Dagster can start none."""
    if problem := why_not():
        pytest.skip(problem)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=browser(), args=list(FLAGS))
        yield opened
        opened.close()
