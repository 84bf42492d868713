"""A run on another host gets the project's files as they were at its launch."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from projects import make_project

from mps_dagster.errors import SourceNotAccessible
from mps_dagster.storage.memory import MemoryBucket
from mps_dagster.workflow.project import Project
from mps_dagster.workflow.shipping import PREFIX, remove_shipped, ship, shipped


@pytest.fixture
def settings(tmp_path):
    made = make_project(tmp_path)
    made.templates_dir.mkdir(exist_ok=True)
    (made.templates_dir / "logo.png").write_bytes(b"a picture")
    (made.templates_dir / ".last_definition").write_text("7")
    return made


@pytest.fixture
def bucket() -> MemoryBucket:
    return MemoryBucket("s3://shared")


def copied(settings, revision: str, bucket: MemoryBucket, folder):
    return settings.model_copy(update={"project": shipped(revision, bucket, folder)})


def test_the_copy_has_the_same_workflows_and_pictures(settings, bucket, tmp_path):
    copy = copied(settings, ship(settings, bucket), bucket, tmp_path / "copies")
    assert Project.load(copy).workflows == Project.load(settings).workflows
    assert (copy.templates_dir / "logo.png").read_bytes() == b"a picture"
    assert not (copy.templates_dir / ".last_definition").exists()


def test_a_revision_stays_as_it_was_when_files_change(settings, bucket, tmp_path):
    first = ship(settings, bucket)
    workflow = settings.workflows_dir / "vod.yaml"
    workflow.write_text(workflow.read_text().replace("priority: 3", "priority: 4"))
    second = ship(settings, bucket)
    assert first != second
    priorities = [
        Project.load(copied(settings, revision, bucket, tmp_path / "copies")).workflows[0].priority
        for revision in (first, second)
    ]
    assert priorities == [3, 4]


def test_the_same_files_are_shipped_once(settings, bucket):
    assert ship(settings, bucket) == ship(settings, bucket)
    assert len(list(bucket.list(PREFIX))) == 1


def test_a_picture_that_is_replaced_is_another_revision(settings, bucket):
    first = ship(settings, bucket)
    (settings.templates_dir / "logo.png").write_bytes(b"another picture")
    assert ship(settings, bucket) != first


def test_old_revisions_go_and_the_current_one_stays(settings, bucket):
    old = ship(settings, bucket)
    (settings.templates_dir / "logo.png").write_bytes(b"another picture")
    current = ship(settings, bucket)
    assert remove_shipped(settings, bucket, before_s=0.0) == 0
    assert remove_shipped(settings, bucket, before_s=time.time() + 60) == 1
    assert [info.key for info in bucket.list(PREFIX)] == [f"{PREFIX}{current}.tar.gz"] != [f"{PREFIX}{old}.tar.gz"]


def test_many_processes_get_one_copy(settings, bucket, tmp_path):
    revision, folder = ship(settings, bucket), tmp_path / "copies"
    with ThreadPoolExecutor(8) as pool:
        copies = set(pool.map(lambda _: shipped(revision, bucket, folder), range(16)))
    assert copies == {folder / revision}
    assert [path.name for path in folder.iterdir()] == [revision], "no draft is left"


def test_a_revision_that_nobody_shipped_leaves_nothing(bucket, tmp_path):
    with pytest.raises(SourceNotAccessible):
        shipped("0" * 32, bucket, tmp_path)
    assert list(tmp_path.iterdir()) == []
