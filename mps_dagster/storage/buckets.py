"""From a bucket's name, as a workflow writes it, to the bucket."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cached_property
from typing import Any

from mps_dagster.errors import InvalidConfiguration
from mps_dagster.settings import Settings
from mps_dagster.storage.bucket import Bucket
from mps_dagster.storage.keys import check_bucket_name
from mps_dagster.storage.local import LocalBucket


def check_shared(name: str, settings: Settings) -> None:
    """Raise `InvalidConfiguration` if other hosts of a cluster cannot use the bucket."""
    if settings.cluster and "://" not in name:
        raise InvalidConfiguration(
            f"with MPS_CLUSTER, the bucket {name!r} is of no use: only this host has it",
            hint="use an s3://… or cos://… bucket",
        )


class Buckets:
    """Made once per process; each bucket, and the client behind all of S3's or all of COS's, at first need."""

    def __init__(self, settings: Settings, s3_client: Callable[[], Any] | None = None, *, patient: bool = True) -> None:
        self._settings = settings
        self._s3_client = s3_client
        self._patient = patient
        self._clients: dict[str, Any] = {}
        self._known: dict[str, Bucket] = {}
        # The API asks from many threads, and boto3 cannot make two clients at once.
        self._lock = threading.Lock()

    @cached_property
    def short_timeout(self) -> Buckets:
        """The same buckets for callers that have little time: what does not answer soon has failed."""
        return Buckets(self._settings, patient=False)

    def get(self, name: str) -> Bucket:
        with self._lock:
            if name not in self._known:
                self._known[name] = self._open(check_bucket_name(name))
            return self._known[name]

    def _open(self, name: str) -> Bucket:
        service, remote, bucket = name.partition("://")
        if not remote:
            check_shared(name, self._settings)
            return LocalBucket(name, self._settings.buckets_dir / name, settle_s=self._settings.settle_s)
        # boto3 costs 0.2 s, and most deployments on one desk have no S3.
        from mps_dagster.storage.s3 import S3Bucket

        if service not in self._clients:
            self._clients[service] = self._make_client(service)
        return S3Bucket(name, bucket, self._clients[service])

    def _make_client(self, service: str) -> Any:
        from mps_dagster.storage.s3 import BRISK_ATTEMPTS, BRISK_S, make_client

        if service == "s3" and self._s3_client:
            return self._s3_client()
        settings = self._settings.s3_of(service)
        if self._patient:
            return make_client(settings)
        return make_client(settings, read_s=BRISK_S, attempts=BRISK_ATTEMPTS)
