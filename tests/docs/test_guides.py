"""The first workflow and the guides, walked through by someone who types what they show, with one `mps up`."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from deployments import MPS, environment_of, start, with_ports
from projects import ROOT
from servers import Aws

from mps_dagster.settings import Settings

from .pages import Block, blocks_of, code
from .reader import Reader

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("services"), pytest.mark.timeout(600)]

FIRST, BY_HAND, THUMBNAILS = (ROOT / "docs" / f"{name}.md" for name in ("first-workflow", "by-hand", "thumbnails"))
AWS = """#!{python}
# As much of AWS's command line as the guides use.
import os, pathlib, sys, boto3
client = boto3.client("s3", endpoint_url=os.environ["MPS_S3__ENDPOINT_URL"], region_name="us-east-1",
                      aws_access_key_id="test", aws_secret_access_key="test")
_, _, verb, *paths = sys.argv
bucket, _, key = paths[-1].removeprefix("s3://").partition("/")
if verb == "cp":
    client.upload_file(paths[0], bucket, key + pathlib.Path(paths[0]).name)
for item in client.list_objects_v2(Bucket=bucket, Prefix=key)["Contents"]:
    print(item["Key"].removeprefix(key))
"""


def console(page: Path) -> list[Block]:
    return [block for block in blocks_of(page) if block.language == "console"]


@pytest.fixture
def settings(tmp_path, s3_server: Aws, monkeypatch) -> Settings:
    """Of the project that the page makes, with an S3 server that has the guide's buckets."""
    s3 = s3_server.settings
    for bucket in ("my-uploads", "my-outputs"):
        s3_server.s3.create_bucket(Bucket=bucket)
    for name in ("endpoint_url", "region", "addressing_style"):
        monkeypatch.setenv(f"MPS_S3__{name.upper()}", getattr(s3, name))
    monkeypatch.setenv("MPS_S3__ACCESS_KEY_ID", "test")
    monkeypatch.setenv("MPS_S3__SECRET_ACCESS_KEY", "test")
    return Settings(project=tmp_path / "media", home=tmp_path / "media" / ".mps", s3=s3)


@pytest.fixture
def reader(tmp_path, clips) -> Reader:
    programs = tmp_path / "programs"
    programs.mkdir()
    aws = programs / "aws"
    aws.write_text(AWS.format(python=sys.executable))
    aws.chmod(0o755)
    for name in ("clip.mp4", "talk.mp4"):
        shutil.copy(clips.video(), tmp_path / name)
    path = os.pathsep.join([str(programs), str(Path(MPS).parent), os.environ["PATH"]])
    return Reader(tmp_path, {**os.environ, "HOME": str(tmp_path), "PATH": path})


def named_files(page: Path) -> Iterator[str]:
    """The pictures and indexes that a page names."""
    return (span for span in code(page) if span.endswith((".jpg", ".webp", ".vtt")))


def test_a_newcomer_gets_what_the_pages_say(reader: Reader, settings: Settings):
    """From `mps init` to the outputs of a folder's workflow, and of one on S3."""
    [make, use], [by_hand], [prepare, upload] = map(console, (FIRST, BY_HAND, THUMBNAILS))
    reader.follow(make)
    settings = with_ports(settings)
    # The ports only: the project is that of the folder in which a command is typed.
    environment = {
        name: text for name, text in environment_of(settings).items() if name not in {"MPS_PROJECT", "MPS_HOME"}
    }
    reader.environment = {**environment, "HOME": reader.environment["HOME"], "PATH": reader.environment["PATH"]}
    [workflow, *_] = [block for block in blocks_of(THUMBNAILS) if block.language == "yaml"]
    (settings.workflows_dir / "thumbnails.yaml").write_text(workflow.text)
    reader.follow(prepare)
    with start(settings) as up:
        reader.follow(use)
        reader.follow(by_hand)
        reader.follow(upload)
        made = reader.run("aws s3 ls s3://my-outputs/thumbnails/clip/").splitlines()
        up.send_signal(signal.SIGTERM)
        up.wait(timeout=30)
    assert len(made) == 1 + 10 + 2
    assert [name for name in named_files(THUMBNAILS) if not any(key.endswith(name) for key in made)] == []
