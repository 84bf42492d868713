"""`Facts`, the base of all values that travel between rooms, steps and files."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Facts(BaseModel):
    """Frozen, and strict about unknown members so that versions cannot mix silently."""

    model_config = ConfigDict(frozen=True, extra="forbid")
