"""The keys that may call the API, and the buckets of each.

    keys:
      - secret_id: AKIDexample
        secret_key: at least sixteen characters
        account: news                  # optional
        read: [inbox, "s3://media"]
        write: ["out-*"]

Keys of one account share their templates and SessionIds; a key without an account shares nothing.

The file has the secret keys in plain text: both kinds of signature need the key itself, so a hash would not do. It is
therefore accepted only if no one but its owner may read it (mode 0600), and the keys are never logged.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

import yaml
from pydantic import Field, SecretStr, ValidationError

from mps_dagster.api.error import ApiError
from mps_dagster.errors import InvalidConfiguration
from mps_dagster.frozen import Facts
from mps_dagster.settings import Settings


class ApiKey(Facts):
    """A key and its rights."""

    secret_id: str = Field(pattern=r"^[A-Za-z0-9_-]{1,128}$")
    secret_key: SecretStr = Field(min_length=16)
    account: str = Field("", pattern=r"^[A-Za-z0-9_-]{0,128}$", description="Whose it is; empty = its own.")
    read: tuple[str, ...] = Field((), description="Buckets that it may read, by name; `*` stands for any characters.")
    write: tuple[str, ...] = Field((), description="Buckets that it may write.")

    @property
    def owner(self) -> str:
        """The owner of templates and tasks created with the key."""
        return self.account or self.secret_id

    def check_read(self, bucket: str) -> None:
        self._check(bucket, self.read, "read")

    def check_write(self, bucket: str) -> None:
        self._check(bucket, self.write, "write")

    def may_read(self, bucket: str) -> bool:
        return _holds(self.read, bucket)

    def may_write(self, bucket: str) -> bool:
        return _holds(self.write, bucket)

    def owns(self, account: str | None) -> bool:
        """Whether the key's owner started a task of this account; then they may see it, even if its source is a URL."""
        return account == self.owner

    def may_see(self, account: str | None, bucket: str) -> bool:
        """A task whose source is in the bucket."""
        return self.owns(account) or self.may_read(bucket)

    def _check(self, bucket: str, allowed: Iterable[str], verb: str) -> None:
        if not _holds(allowed, bucket):
            problem = f"The key {self.secret_id} may not {verb} the bucket {bucket!r}."
            raise ApiError("UnauthorizedOperation", problem)


def _holds(patterns: Iterable[str], bucket: str) -> bool:
    return any(fnmatchcase(bucket, pattern) for pattern in patterns)


class _KeysFile(Facts):
    keys: tuple[ApiKey, ...]


def load_keys(settings: Settings) -> Mapping[str, ApiKey]:
    """All keys by their id: those of the file and the one in the settings."""
    path = settings.api_keys_path
    keys = _read(path) if settings.api.keys_file or path.exists() else ()
    by_id: dict[str, ApiKey] = {}
    for key in (*keys, *_settings_key(settings)):
        if key.secret_id in by_id:
            raise InvalidConfiguration(f"the API key {key.secret_id} is given twice", hint=f"see {path} and MPS_API__*")
        by_id[key.secret_id] = key
    return by_id


def make_first_key(settings: Settings) -> Path | None:
    """If there are no keys, write a file with one that may do everything; return its path, else None."""
    path = settings.api_keys_path
    if settings.api.keys_file or settings.api.secret_id or path.exists():
        return None
    key = {
        "secret_id": f"AKID{secrets.token_hex(16)}",
        "secret_key": secrets.token_hex(16),
        "read": ["*"],
        "write": ["*"],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        yaml.safe_dump({"keys": [key]}, file, sort_keys=False)
    return path


def _settings_key(settings: Settings) -> tuple[ApiKey, ...]:
    secret_id, secret_key = settings.api.secret_id, settings.api.secret_key
    if not secret_id and not secret_key:
        return ()
    where = "MPS_API__SECRET_ID and MPS_API__SECRET_KEY"
    document = {"secret_id": secret_id, "secret_key": secret_key, "read": ["*"], "write": ["*"]}
    return _validate({"keys": [document]}, where)


def _read(path: Path) -> tuple[ApiKey, ...]:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read()
    except OSError as error:
        raise InvalidConfiguration(f"cannot read the API keys: {error}", hint="see MPS_API__KEYS_FILE") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise InvalidConfiguration(
            f"others can get at the API keys in {path} (mode {stat.S_IMODE(mode):04o})", hint=f"chmod 600 {path}"
        )
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        # Not the error's text: it quotes lines, which may hold keys.
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise InvalidConfiguration(f"{path} is not YAML{line}") from None
    return _validate(document, str(path))


def _validate(document: object, where: str) -> tuple[ApiKey, ...]:
    try:
        return _KeysFile.model_validate(document).keys
    except ValidationError as error:
        # Not pydantic's text, and not chained: it quotes values, which may be keys.
        problems = error.errors(include_url=False, include_input=False, include_context=False)
        lines = [f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in problems]
    raise InvalidConfiguration(f"{where}: {'; '.join(lines)}", hint="mps_dagster/api/keys.py shows what it looks like")
