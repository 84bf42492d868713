"""What steps hand to one another: small JSON files. Media bytes never pass here."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from mps_dagster.errors import InvalidInput

ASSETS = "assets"
"""The folder of the values of assets."""


class JsonValues(dg.ConfigurableIOManager):
    """One file per step output or asset partition, written whole or not at all.

    Not `fs_io_manager`: it uses the partition key as a path, and object keys hold `..`, or one the other as a folder.
    Nor pickles, which would run code from a scratch disk.
    """

    folder: str

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        path = self._path(context)
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=".")
        with os.fdopen(descriptor, "w") as file:
            json.dump(obj, file)
        Path(draft).replace(path)

    def load_input(self, context: dg.InputContext) -> Any:
        upstream = context.upstream_output
        path = self._path(context if context.has_asset_key or upstream is None else upstream)
        try:
            return json.loads(path.read_text())
        except FileNotFoundError:
            of = context.asset_key.path[-1] if context.has_asset_key else context.name
            gone = InvalidInput(
                f"what {of} found or made of this upload is not kept any more; run the whole workflow on it"
            )
            facts: dict[str, Any] = {
                "code": gone.code,
                "number": gone.number,
                "message": gone.message,
                "retryable": False,
            }
            raise dg.Failure(gone.message, metadata=facts, allow_retries=False) from None

    def _path(self, context: dg.OutputContext | dg.InputContext) -> Path:
        parts = list(context.get_identifier()) if not context.has_asset_key else list(context.asset_key.path)
        if context.has_asset_key and context.has_asset_partitions:
            parts.append(context.asset_partition_key)
        return Path(self.folder) / (ASSETS if context.has_asset_key else parts[0]) / value_name(parts)


def value_name(parts: Sequence[str]) -> str:
    """The file of a value: of an asset's, by its path and partition."""
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogateescape")).hexdigest() + ".json"
