"""One cluster for all tests of this folder: to start it takes half a minute."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cluster.cluster import Cluster, cluster
from cluster.hosts import Host, why_not

VOD = """
name: vod
trigger: {bucket: "s3://inbox", dir: /in/}
output: {bucket: "s3://outputs", dir: /vod/}
notify: [{type: local, queue: events}]
tasks:
  web:
    type: transcode
    outputs:
      - name: small
        video_template: {height: 90, effort: fast}
        watermark_set: [{type: image, image_template: {image_content: logo.png, width: 20%}}]
      - {name: sound, raw_parameter: {container: mp3}}
  stills:
    type: sample_snapshot
    outputs: [{sample_type: Percent, sample_interval: 50}]
"""
LONG = """
name: long
trigger: {bucket: "s3://inbox", dir: /long/}
output: {bucket: "s3://outputs", dir: /long/}
notify: [{type: local, queue: events}]
tasks:
  web:
    type: transcode
    outputs: [{name: big, video_template: {codec: av1, effort: quality, width: 2560, height: 1440, bitrate: 9000}}]
"""
FILM = """
name: film
trigger: {bucket: "s3://inbox", dir: /film/}
output: {bucket: "s3://outputs", dir: /film/}
notify: [{type: local, queue: events}]
tasks:
  web:
    type: transcode
    outputs: [{name: whole, video_template: {codec: h265, effort: quality, height: 180}}]
"""


@pytest.fixture(scope="session")
def up() -> Iterator[Cluster]:
    """A control host, and workers with a core each."""
    if problem := why_not():
        pytest.skip(problem)
    with cluster(vod=VOD, long=LONG, film=FILM) as made:
        made.up()
        made.calm()
        yield made


@pytest.fixture
def workers(up, calm) -> dict[str, Host]:
    """Those that live."""
    return {host.name: host for host in up.living()}


@pytest.fixture(autouse=True)
def calm(up) -> None:
    """Nothing runs that a failed test left, no host is cut off, and one that has died is replaced."""
    up.calm()


@pytest.fixture
def no_earlier_events(up) -> None:
    """Of other tests."""
    up.mps("notifications", "receive", "--wait", "3", "--max", "100", "--acknowledge")
