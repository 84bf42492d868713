"""DescribeMediaMetaData (reference F.1). It fetches and probes within the call, so it has limits of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mps_dagster.api.action import Action, Call
from mps_dagster.api.actions.storage import MediaInputInfo
from mps_dagster.api.actions.task_requests import DescribeMediaMetaDataRequest
from mps_dagster.api.error import ApiError
from mps_dagster.api.keys import ApiKey
from mps_dagster.api.limits import Slots
from mps_dagster.errors import ContentUnsupported, MpsError
from mps_dagster.execution.download import SIZE_HINT, fetch
from mps_dagster.ffmpeg.program import Ffmpeg
from mps_dagster.mps.results import meta_data
from mps_dagster.settings import Settings
from mps_dagster.storage.buckets import Buckets

AT_ONCE = 4
"""Of the 40 threads that all calls share."""
FETCH_S, PROBE_S = 45.0, 15.0
"""The SDKs wait for an answer for a minute."""
MAX_BYTES = 2 * 2**30


def meta_data_actions(settings: Settings) -> dict[str, Action[Any]]:
    probing = _Probing(settings, Buckets(settings), Slots(AT_ONCE, "files are looked at"))
    return {"DescribeMediaMetaData": Action(DescribeMediaMetaDataRequest, probing.describe)}


@dataclass(frozen=True)
class _Probing:
    settings: Settings
    buckets: Buckets
    slots: Slots

    def describe(self, call: Call[DescribeMediaMetaDataRequest]) -> dict[str, Any]:
        with self.slots.hold():
            try:
                return {"MetaData": self._meta_data(call.request.input_info, call.key)}
            except MpsError as error:
                raise ApiError("InvalidParameterValue.SrcFile", str(error)) from error

    def _meta_data(self, info: MediaInputInfo, key: ApiKey) -> dict[str, Any]:
        self.settings.scratch_dir.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=self.settings.scratch_dir, prefix="probe-") as folder:
            path = Path(folder) / "source"
            if info.url:
                fetch(info.url, path, self.settings.web, max_bytes=MAX_BYTES, seconds=FETCH_S)
            else:
                self._copy(*info.place(key, self.settings), path)
            media = Ffmpeg.of(self.settings).probe(path, wall_s=PROBE_S)
            return meta_data(media, path.stat().st_size)

    def _copy(self, name: str, key: str, path: Path) -> None:
        bucket = self.buckets.get(name)
        info = bucket.head(key)
        if info.size > MAX_BYTES:
            raise ContentUnsupported(f"{name}/{key} has {info.size} bytes, more than {MAX_BYTES}", hint=SIZE_HINT)
        bucket.fetch(key, path, etag=info.etag)
