"""`Deployment`: what every call to a running deployment needs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from mps_dagster.control.graphql import Dagster
from mps_dagster.errors import InvalidInput
from mps_dagster.settings import Settings
from mps_dagster.storage.buckets import Buckets
from mps_dagster.workflow.model import Workflow
from mps_dagster.workflow.project import Project


@dataclass(frozen=True)
class Deployment:
    """Created for each command or request: it reads the project's files at first use."""

    settings: Settings
    buckets: Buckets
    dagster: Dagster

    @classmethod
    def of(cls, settings: Settings) -> Deployment:
        return cls(settings, Buckets(settings), Dagster(settings.ui_url))

    @cached_property
    def project(self) -> Project:
        return Project.load(self.settings)

    def workflow(self, name: str) -> Workflow:
        workflow = self.project.by_name.get(name)
        if workflow is None:
            names, bad = ", ".join(self.project.by_name) or "none", self.project.bad
            hint = f"there are: {names}" + (f"; {len(bad)} files are not valid (mps workflows validate)" if bad else "")
            raise InvalidInput(f"there is no workflow {name!r} in {self.settings.workflows_dir}", hint=hint)
        return workflow
