"""The values that steps pass to one another, as small JSON files. Media never passes here."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_origin

import dagster as dg
from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from mps_dagster.errors import DiskFull, InvalidInput
from mps_dagster.orchestration.ops import failure
from mps_dagster.storage.disk import filling
from mps_dagster.storage.drafts import write_whole

ASSETS = "assets"
"""The folder of the values of assets."""


class TypedValues(dg.ConfigurableIOManager):
    """One file per step output or asset partition, read as the type that the step declares.

    Not `fs_io_manager`: it uses the partition key as a path, but an object key may hold `..` or be another one's folder.
    And it writes pickles, which would run code from a scratch disk.
    """

    folder: str

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        path = self._path(context)
        try:
            with filling(f"cannot keep the result of {context.step_key}", path.parent):
                write_whole(path, to_json(obj))
        except DiskFull as error:
            # Dagster counts the retries.
            raise failure(error, allow_retries=True) from error

    def load_input(self, context: dg.InputContext) -> Any:
        upstream = context.upstream_output
        path = self._path(context if context.has_asset_key or upstream is None else upstream)
        try:
            return _adapter(context.dagster_type.typing_type).validate_json(path.read_bytes())
        except (FileNotFoundError, ValidationError) as error:
            name = context.asset_key.path[-1] if context.has_asset_key else context.name
            raise failure(
                InvalidInput(f"the result of {name} for this upload was removed; run the whole workflow on it")
            ) from error

    def _path(self, context: dg.OutputContext | dg.InputContext) -> Path:
        parts = list(context.get_identifier()) if not context.has_asset_key else list(context.asset_key.path)
        if context.has_asset_key and context.has_asset_partitions:
            parts.append(context.asset_partition_key)
        return Path(self.folder) / (ASSETS if context.has_asset_key else parts[0]) / value_name(parts)


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    # The input that collects results is loaded one result at a time.
    return TypeAdapter(get_args(kind)[0] if get_origin(kind) is list else kind)


def value_name(parts: Sequence[str]) -> str:
    """The file name of a value; an asset's parts are its path and partition."""
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogateescape")).hexdigest() + ".json"
