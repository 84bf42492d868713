"""What the hosts of a cluster must have in common: a database, a bucket, a token, the same code."""

from __future__ import annotations

from mps_dagster.control.code_version import code_version
from mps_dagster.errors import InvalidConfiguration, SourceNotAccessible
from mps_dagster.frozen import Facts
from mps_dagster.settings import Settings
from mps_dagster.storage.bucket import Bucket
from mps_dagster.storage.buckets import Buckets
from mps_dagster.workflow.model import RECORDS_DIR
from mps_dagster.workflow.project import Project

KEY = f"{RECORDS_DIR}cluster.json"
MIN_TOKEN = 20


class ControlHost(Facts):
    """What the control host leaves in the shared bucket for hosts that join."""

    code: str
    dagster_yaml: str


def check_settings(settings: Settings) -> None:
    """Raise `InvalidConfiguration` if something is missing that hosts need in common, or is on one host only."""
    needed = {
        "MPS_DATABASE_URL (a PostgreSQL that all hosts reach)": bool(settings.database_url),
        "MPS_SHARED_BUCKET (an s3://… or cos://… bucket that all hosts reach)": bool(settings.shared_bucket),
    }
    if settings.cluster == "ray":
        needed |= {
            f"MPS_RAY__TOKEN (the same secret on all hosts, {MIN_TOKEN} characters at least)": len(settings.ray.secret)
            >= MIN_TOKEN,
            "MPS_RAY__HOST (the control host's address)": bool(settings.ray.host or settings.ray.dashboard_url),
        }
    if missing := [name for name, is_set in needed.items() if not is_set]:
        raise InvalidConfiguration(
            f"with MPS_CLUSTER={settings.cluster}, set {', '.join(missing)}", hint="see docs/scale-out.md"
        )


def check_buckets(settings: Settings) -> None:
    """Raise `InvalidConfiguration` if a workflow of the project uses a folder of this host as its bucket."""
    local = {
        f"{name} (workflow {workflow.name})"
        for workflow in Project.load(settings).workflows
        for name in (workflow.trigger.bucket, *workflow.written_buckets)
        if "://" not in name
    }
    if local:
        raise InvalidConfiguration(
            f"with MPS_CLUSTER, these buckets are of no use, as only this host has them: {', '.join(sorted(local))}",
            hint="use s3://… or cos://… buckets in these workflows",
        )


def shared_bucket(settings: Settings) -> Bucket:
    return Buckets(settings).get(settings.shared_bucket)


def announce(settings: Settings) -> None:
    """For hosts that join later."""
    config = (settings.project / "dagster.yaml").read_text()
    control = ControlHost(code=code_version(), dagster_yaml=config)
    shared_bucket(settings).write(KEY, control.model_dump_json().encode(), content_type="application/json")


def control_host(settings: Settings) -> ControlHost:
    """What the control host has announced; raise `InvalidConfiguration` if this host's code is another."""
    try:
        control = ControlHost.model_validate_json(shared_bucket(settings).read(KEY))
    except SourceNotAccessible as error:
        raise InvalidConfiguration(
            f"{settings.shared_bucket} does not say what the control host has", hint="start `mps up` there first"
        ) from error
    if control.code != code_version():
        raise InvalidConfiguration(
            f"this host has mps_dagster {code_version()}, and the control host {control.code}",
            hint="install the same version, with the same Dagster and ffmpeg, on all hosts",
        )
    return control
