"""One frozen `Settings`, read from the environment (`MPS_*`) once at an entry point and passed down.

Nested values take a double underscore: `MPS_S3__ENDPOINT_URL=http://127.0.0.1:9000`.
"""

from __future__ import annotations

import difflib
import inspect
import ipaddress
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict


def _usable_cores() -> int:
    """Cores that this process may run on: those of a container's cpuset, not all of the host."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _is_postgresql_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        # `parts.port` raises ValueError if it is no number.
        return (
            parts.scheme in ("postgresql", "postgres") and bool(parts.hostname and parts.path[1:]) and parts.port != 0
        )
    except ValueError:
        return False


class S3Settings(BaseModel):
    """Access to `s3://…` buckets: AWS, or any other service with S3's interface (MinIO, …)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    endpoint_url: str | None = Field(None, description="Empty = AWS itself.")
    region: str | None = Field(None, description="The buckets' region.")
    addressing_style: Literal["auto", "path", "virtual"] = Field(
        "auto", description="COS refuses path style on buckets made since 2024; a local server mostly needs it."
    )
    checksum: Literal["when_required", "when_supported"] = Field(
        "when_required", description="botocore's default (when_supported) breaks uploads to COS and others."
    )
    access_key_id: str | None = Field(None, description="Empty = boto3's own chain (environment, profile, role).")
    secret_access_key: SecretStr | None = Field(None, description="Goes with the access key id.")


class CosSettings(BaseModel):
    """Access to `cos://…` buckets: Tencent's own, over their S3 interface (reference H.1)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    region: str = Field("ap-guangzhou", description="The buckets' region; an endpoint has only those of its own.")
    endpoint_url: str | None = Field(None, description="Empty = https://cos.<region>.myqcloud.com.")
    secret_id: str | None = Field(None, description="SecretId.")
    secret_key: SecretStr | None = Field(None, description="SecretKey.")

    def as_s3(self) -> S3Settings:
        """COS refuses path style on buckets made since 2024, and the checksums that botocore sends by default."""
        return S3Settings(
            endpoint_url=self.endpoint_url or f"https://cos.{self.region}.myqcloud.com",
            region=self.region,
            addressing_style="virtual",
            checksum="when_required",
            access_key_id=self.secret_id,
            secret_access_key=self.secret_key,
        )


class WebSettings(BaseModel):
    """HTTP to addresses that users name: URL callbacks, URL inputs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    allow: tuple[str, ...] = Field(
        (),
        description='Hosts, addresses and networks that are allowed though not public: `["hooks.lan", "10.1.0.0/16"]`.',
    )
    proxy: str | None = Field(None, description="http://host:port; variables such as HTTPS_PROXY are ignored.")

    @field_validator("allow")
    @classmethod
    def _are_hosts(cls, allow: tuple[str, ...]) -> tuple[str, ...]:
        for item in allow:
            if "//" in item or (":" in item and not item.count(":") > 1) or not item.strip():
                raise ValueError(f"{item!r} is no host, address or network; leave out http:// and the port")
            if "/" in item:
                ipaddress.ip_network(item, strict=False)
        return tuple(item.strip().lower().rstrip(".") for item in allow)


class CmqSettings(BaseModel):
    """CMQ and TDMQ-for-CMQ, for notifications."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    endpoint_url: str | None = Field(
        None, description="May hold {region} of the sink: https://cmq-{region}.public.tencenttdmq.com."
    )
    secret_id: str | None = Field(None, description="SecretId.")
    secret_key: SecretStr | None = Field(None, description="SecretKey.")


class ApiSettings(BaseModel):
    """The HTTP API in MPS's wire format. The keys file has the rights of each key (api/keys.py)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", description="Where it listens. For access from outside, put TLS in front.")
    port: int = Field(3002, ge=1, le=65535, description="Its port.")
    keys_file: Path | None = Field(
        None, description="Keys and their buckets. Empty = api_keys.yaml in the home, if any."
    )
    secret_id: str | None = Field(None, description="One key without a file; it may read and write every bucket.")
    secret_key: SecretStr | None = Field(None, description="Goes with the secret id.")
    rates: dict[str, Annotated[float, Field(gt=0)]] = Field(
        {}, description="Calls per second and key, by action, in place of MPS's own; `*` = all actions not named."
    )
    max_body_bytes: int = Field(10 * 2**20, gt=0, description="Largest body that is read; MPS's own limit.")


class RaySettings(BaseModel):
    """The Ray cluster of `MPS_CLUSTER=ray` (docs/scale-out.md)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field(
        "",
        description="The control host's address that workers reach; `mps up` starts Ray's head there. Empty = yours.",
    )
    port: int = Field(6379, ge=1, le=65535, description="Where workers join.")
    dashboard_port: int = Field(8265, ge=1, le=65535, description="Ray's dashboard, there.")
    dashboard_url: str = Field("", description="Of a head that you run yourself. Empty = that of `mps up`.")
    token: SecretStr | None = Field(
        None, description="A secret that all hosts share, 20 characters at least: who has it may run anything on them."
    )
    run_cores: int = Field(2, ge=1, description="Cores that a run asks for, and subtasks that it works on at once.")

    @property
    def secret(self) -> str:
        """The token; empty if there is none."""
        return self.token.get_secret_value() if self.token else ""

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return self.dashboard_url or f"http://{self.host}:{self.dashboard_port}"


class Settings(BaseSettings):
    """All settings of a deployment."""

    model_config = SettingsConfigDict(
        env_prefix="MPS_", env_nested_delimiter="__", frozen=True, extra="ignore", hide_input_in_errors=True
    )

    project: Path = Field(default_factory=Path.cwd, description="Folder of dagster.yaml, workflows/ and templates/.")
    home: Path = Field(
        default_factory=lambda: Path.cwd() / ".mps", description="Buckets, scratch, queue and Dagster's own files."
    )
    ffmpeg: Path | None = Field(None, description="Another ffmpeg than that of imageio-ffmpeg.")
    cores: int = Field(default_factory=_usable_cores, ge=1, description="Subtasks of one run at the same time.")
    share_decoding: bool = Field(
        True,
        description="Outputs of a run that read its source alike are made by one ffmpeg process, which decodes it once.",
    )
    chunks_from_s: float = Field(
        0,
        ge=0,
        description="A picture that lasts this many seconds or more is encoded in chunks, each a subtask; 600 at least."
        " 0 = always whole.",
    )
    chunk_s: float = Field(120, ge=30, le=3600, description="About how long a chunk is, seconds.")
    max_runs: int = Field(
        2,
        ge=1,
        description="Runs at once on one host. Each works on as many subtasks at once as there are cores."
        " With Ray, the hosts' cores decide.",
    )
    max_backfill_runs: int | None = Field(
        None,
        ge=1,
        description="How many of them may be backfills. Empty = one less, so that an upload need not wait for them.",
    )
    max_account_runs: int | None = Field(None, ge=1, description="Runs at once of one account of the API. Empty = any.")
    database_url: SecretStr | None = Field(
        None,
        description="postgresql://user:password@host:port/database for Dagster's records; empty = SQLite in the home.",
    )
    shared_bucket: str = Field(
        "",
        description="s3://name or cos://name-appid, in which steps leave values for one another, so that another host finds"
        " those of earlier runs. Empty = the home.",
    )
    cluster: Literal["", "ray", "other"] = Field(
        "", description="Runs are on other hosts: through `ray`, or the run launcher of dagster.yaml (`other`)."
    )
    host_name: str = Field(default_factory=socket.gethostname, description="What runs show as their host.")
    ui_port: int = Field(3000, ge=1, le=65535, description="The Dagster UI, on 127.0.0.1.")
    files_port: int = Field(3001, ge=1, le=65535, description="Serves pictures of outputs to the Dagster UI.")
    pages: bool = Field(True, description="A page for people is written beside the manifests of each source.")
    s3: S3Settings = S3Settings()
    cos: CosSettings = CosSettings()
    api: ApiSettings = ApiSettings()
    web: WebSettings = WebSettings()
    cmq: CmqSettings = CmqSettings()
    ray: RaySettings = RaySettings()
    sqs_endpoint_url: str | None = Field(None, description="Empty = AWS itself.")

    prices: Path | None = Field(
        None,
        description="Price tables of `mps usage` (docs/usage.md). Empty = list prices of two clouds, as an example.",
    )

    settle_s: float = Field(0.5, ge=0, description="A local upload is taken when unchanged for this many seconds.")
    max_source_bytes: int = Field(50 * 2**30, gt=0, description="Largest source that is accepted.")
    max_duration_s: float = Field(24 * 3600, gt=0, description="Longest source that is accepted.")
    max_pixels: int = Field(8192 * 8192, gt=0, description="Largest picture that is decoded (width x height).")
    subtask_timeout_s: float = Field(
        6 * 3600,
        gt=0,
        description="Wall-clock limit of one ffmpeg process on a source of up to ten minutes, or in proportion on a longer one.",
    )
    stall_timeout_s: float = Field(
        300,
        gt=0,
        description="ffmpeg is ended when it reads nothing new, writes nothing and finishes no frame for this long.",
    )
    memory_limit_bytes: int = Field(8 * 2**30, gt=0, description="Address space of one ffmpeg process.")

    keep_runs_days: int = Field(
        0, ge=0, description="Days after its end that Dagster forgets a run and what its pages show of it. 0 = never."
    )
    keep_partitions: int = Field(
        100_000, ge=1, description="Uploads that a workflow's assets show; the oldest go first."
    )
    keep_logs_days: int = Field(
        30, ge=1, description="Logs and step values of runs, and of uploads that no asset shows any more."
    )
    keep_records_days: int = Field(
        0,
        ge=0,
        description="Records, manifests, previews and pages of outputs that no longer exist, from their writing on. 0 = for ever.",
    )

    @field_validator("chunks_from_s")
    @classmethod
    def _is_long(cls, from_s: float) -> float:
        if 0 < from_s < 600:
            raise ValueError("below ten minutes, chunks cost more than they save; it has to be 600 at least, or 0")
        return from_s

    @field_validator("database_url")
    @classmethod
    def _is_postgresql(cls, url: SecretStr | None) -> SecretStr | None:
        if url is None or not url.get_secret_value():
            return None
        if not _is_postgresql_url(url.get_secret_value()):
            # Without the value: it may hold a password.
            raise ValueError("it has to be postgresql://user:password@host:port/database")
        return url

    @field_validator("shared_bucket")
    @classmethod
    def _is_remote(cls, bucket: str) -> str:
        if bucket and "://" not in bucket:
            raise ValueError(f"{bucket!r} is a folder of this host; it has to be s3://name or cos://name-appid")
        return bucket

    def s3_of(self, service: str) -> S3Settings:
        """Access to buckets of a service, `s3` or `cos`."""
        return self.cos.as_s3() if service == "cos" else self.s3

    @property
    def sqlalchemy_url(self) -> str:
        """The database's URL with dagster-postgres's driver, as SQLAlchemy 2.1 has another default."""
        url = self.database_url.get_secret_value() if self.database_url else ""
        return f"postgresql+psycopg2://{url.partition('://')[2]}"

    @property
    def backfill_runs(self) -> int:
        return self.max_backfill_runs or max(1, self.max_runs - 1)

    @property
    def workflows_dir(self) -> Path:
        return self.project / "workflows"

    @property
    def templates_dir(self) -> Path:
        return self.project / "templates"

    @property
    def dagster_home(self) -> Path:
        return self.home / "dagster"

    @property
    def buckets_dir(self) -> Path:
        """Each local bucket is a folder in it."""
        return self.home / "buckets"

    @property
    def scratch_dir(self) -> Path:
        """Staged sources and work folders, one folder per run."""
        return self.home / "scratch"

    @property
    def shipped_dir(self) -> Path:
        """The project's files of runs that another host has launched, a folder for each revision."""
        return self.home / "projects"

    @property
    def progress_dir(self) -> Path:
        """The progress of running subtasks."""
        return self.home / "progress"

    @property
    def dead_letters_dir(self) -> Path:
        """Announcements that could not be read, in a folder per workflow."""
        return self.home / "set_aside"

    @property
    def api_keys_path(self) -> Path:
        return self.api.keys_file or self.home / "api_keys.yaml"

    @property
    def outbox_path(self) -> Path:
        return self.home / "outbox.sqlite"

    @property
    def retention_path(self) -> Path:
        """The last record of each bucket that the daily removal has checked."""
        return self.home / "retention.json"

    @property
    def usage_dir(self) -> Path:
        """The usage of each day, unless there is a shared bucket."""
        return self.home / "usage"

    @property
    def queue_path(self) -> Path:
        return self.home / "queue.sqlite"

    @property
    def ui_url(self) -> str:
        return f"http://127.0.0.1:{self.ui_port}"

    @property
    def api_url(self) -> str:
        return f"http://{self.api.host}:{self.api.port}"

    @property
    def files_url(self) -> str:
        return f"http://127.0.0.1:{self.files_port}"


def variables(model: type[BaseModel] = Settings, prefix: str = "MPS_") -> Iterator[tuple[str, FieldInfo]]:
    """Each environment variable and its field; nested ones last."""
    nested = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        if inspect.isclass(kind) and issubclass(kind, BaseModel):
            nested.append((kind, f"{prefix}{name.upper()}__"))
        else:
            yield f"{prefix}{name.upper()}", field
    for kind, inner in nested:
        yield from variables(kind, inner)


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """MPS_* variables that nothing reads, probably misspelt, with a suggestion."""
    known = [name for name, _ in variables()]
    # A group as one JSON value, and the members of a mapping, are read as well.
    read = {*known, *(name.rpartition("__")[0] for name in known)}
    unknown = [
        name for name in sorted(environment) if name.upper().startswith("MPS_")
        and name.upper() not in read and not any(name.upper().startswith(f"{other}__") for other in known)
    ]  # fmt: skip
    similar = {name: difflib.get_close_matches(name.upper(), known, n=1) for name in unknown}
    return [f"{name} (is {similar[name][0]} meant?)" if similar[name] else name for name in unknown]


def problem_of(error: ValidationError) -> str:
    """The problems of the settings by variable, without values, which may be secrets."""
    return "; ".join(
        f"MPS_{'__'.join(map(str, problem['loc'])).upper()}: {problem['msg']}" for problem in error.errors()
    )
