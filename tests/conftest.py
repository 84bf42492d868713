"""Fixtures that all rooms share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from clips import Clips
from servers import Aws, aws


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    """Synthetic clips, each made when it is first asked for. A worker of pytest-xdist has a folder of its own."""
    return Clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="session")
def s3_server() -> Iterator[Aws]:
    """S3 and SQS over HTTP, shared by a worker's tests: each makes buckets and queues of its own name."""
    with aws() as server:
        yield server


@pytest.fixture(scope="session")
def media_folder() -> Path:
    """Real clips, which are not part of the project."""
    folder = os.environ.get("MPS_TEST_MEDIA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("MPS_TEST_MEDIA names no folder with real clips")
    return Path(folder)
