"""The values that steps pass to one another, as small JSON documents. Media never passes here."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from typing import Any, get_args, get_origin

import dagster as dg
from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from mps_dagster.errors import InvalidInput, MpsError
from mps_dagster.orchestration.ops import failure
from mps_dagster.orchestration.value_store import ASSETS, ValueStore


class TypedValues(dg.IOManager):
    """One document per step output or asset partition, read as the type that the step declares.

    Not `fs_io_manager`: it uses the partition key as a path, but an object key may hold `..` or be another one's folder.
    And it writes pickles, which would run code from a scratch disk.
    """

    def __init__(self, store: ValueStore) -> None:
        self._store = store

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        try:
            self._store.write(_key(context), to_json(obj), f"cannot keep the result of {context.step_key}")
        except MpsError as error:
            # Dagster counts the retries.
            raise failure(error, allow_retries=True) from error

    def load_input(self, context: dg.InputContext) -> Any:
        upstream = context.upstream_output
        name = context.asset_key.path[-1] if context.has_asset_key else context.name
        gone = InvalidInput(f"the result of {name} for this upload was removed; run the whole workflow on it")
        try:
            content = self._store.read(_key(context if context.has_asset_key or upstream is None else upstream))
        except MpsError as error:
            raise failure(error, allow_retries=True) from error
        if content is None:
            raise failure(gone)
        try:
            return _adapter(context.dagster_type.typing_type).validate_json(content)
        except ValidationError as error:
            raise failure(gone) from error


def _key(context: dg.OutputContext | dg.InputContext) -> str:
    parts = list(context.get_identifier()) if not context.has_asset_key else list(context.asset_key.path)
    if context.has_asset_key and context.has_asset_partitions:
        parts.append(context.asset_partition_key)
    return f"{ASSETS if context.has_asset_key else parts[0]}/{value_name(parts)}"


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    # The input that collects results is loaded one result at a time.
    return TypeAdapter(get_args(kind)[0] if get_origin(kind) is list else kind)


def value_name(parts: Sequence[str]) -> str:
    """The file name of a value; an asset's parts are its path and partition."""
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogateescape")).hexdigest() + ".json"
