"""Everything meets here: settings + workflows → Definitions. No logic."""

from mps_dagster.orchestration.build import build_definitions
from mps_dagster.settings import Settings

defs = build_definitions(Settings())
