"""Lays out a project's folder. The files are package data; the repository's own project has links to them."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

from mps_dagster.storage.drafts import write_whole
from mps_dagster.workflow.schema import SCHEMA_FILE, schema_text

FOLDERS: Mapping[str, str] = {
    "workflows": "a YAML file for each workflow",
    "templates": "your own templates, and images of watermarks",
}
FILES: Mapping[str, str] = {
    "dagster.yaml": "settings of Dagster",
    "workspace.yaml": "tells Dagster's own commands where the code is",
    ".gitignore": "keeps uploads, outputs and passwords out of git",
    SCHEMA_FILE: "tells editors which fields a workflow has",
    "Dockerfile": "an image of this project",
    "compose.yaml": "that image with PostgreSQL and an S3 server",
    "constraints.txt": "the versions of packages in the image",
    "mps.service": "a systemd unit",
}
"""By name, with what each is for."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or folder of a project, and what became of it."""

    name: str
    purpose: str
    state: Literal["written", "kept", "differs"]
    """`differs`: kept as it was, which is not what this version would write."""


def lay_out(folder: Path) -> list[Entry]:
    """Write what the folder lacks; what is there stays as it is."""
    return [
        *(Entry(f"{name}/", purpose, _make(folder / name)) for name, purpose in FOLDERS.items()),
        *(Entry(name, purpose, _write(folder / name, _text(name, folder))) for name, purpose in FILES.items()),
    ]


def _make(folder: Path) -> Literal["written", "kept"]:
    if folder.is_dir():
        return "kept"
    # Git forgets empty folders, and the image is built from both.
    write_whole(folder / ".gitkeep", b"")
    return "written"


def _write(path: Path, text: str) -> Literal["written", "kept", "differs"]:
    if path.exists():
        return "kept" if path.read_bytes() == text.encode() else "differs"
    write_whole(path, text.encode())
    return "written"


def _text(name: str, folder: Path) -> str:
    match name:
        case _ if name == SCHEMA_FILE:
            return schema_text()
        case "mps.service":
            return _unit(_shipped(name), folder)
        case _:
            return _shipped(name)


def _shipped(name: str) -> str:
    # Without the dot, so that it does not count as a .gitignore of ours.
    return resources.files("mps_dagster.workflow").joinpath("project_files", name.removeprefix(".")).read_text()


def _unit(text: str, folder: Path) -> str:
    """The systemd unit for this user, this folder and the Python that runs now."""
    program = Path(sys.executable).with_name("mps")
    replaced = {
        "User=mps": f"User={getpass.getuser()}",
        "WorkingDirectory=/srv/mps": f"WorkingDirectory={_escaped(folder.resolve())}",
        "ExecStart=/srv/mps/.venv/bin/mps": f'ExecStart="{_escaped(program)}"',
    }
    for line, here in replaced.items():
        text = text.replace(line, here)
    return text


def _escaped(path: Path) -> str:
    """For systemd, where a percent sign begins a variable."""
    return str(path).replace("%", "%%")
