"""The files of a new project: one source for them, and each fits the others."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from projects import ROOT

from mps_dagster.errors import MpsError
from mps_dagster.settings import unknown_variables, variables
from mps_dagster.workflow.new_project import FILES, FOLDERS, lay_out
from mps_dagster.workflow.schema import SCHEMA_FILE, schema_text

SHIPPED = ROOT / "mps_dagster" / "workflow" / "project_files"
COPIED = re.compile(r"^COPY (.+) \S+$", re.MULTILINE)
MOUNTED = re.compile(r"^(?P<source>[^:]+):(?P<target>/[^:]+)$")


@pytest.fixture
def project(tmp_path) -> Path:
    lay_out(tmp_path / "media")
    return tmp_path / "media"


@pytest.fixture
def services(project) -> dict:
    return yaml.safe_load((project / "compose.yaml").read_text())["services"]


def states(folder: Path) -> dict[str, str]:
    return {entry.name: entry.state for entry in lay_out(folder)}


def test_a_new_project_has_every_file_and_folder(tmp_path):
    assert set(states(tmp_path / "media").values()) == {"written"}
    assert {path.name for path in (tmp_path / "media").iterdir()} == {*FILES, *FOLDERS}
    assert (tmp_path / "media" / SCHEMA_FILE).read_text() == schema_text()


def test_what_is_there_stays_and_what_is_missing_is_added(project):
    """A file of one's own is not overwritten, and said to be another one than this version's."""
    (project / "dagster.yaml").write_text("telemetry: {enabled: false}")
    (project / "workflows" / "mine.yaml").write_text("name: mine")
    (project / ".gitignore").unlink()
    found = states(project)
    assert (found.pop("dagster.yaml"), found.pop(".gitignore")) == ("differs", "written")
    assert set(found.values()) == {"kept"}
    assert (project / "dagster.yaml").read_text() == "telemetry: {enabled: false}"
    assert sorted(path.name for path in (project / "workflows").iterdir()) == [".gitkeep", "mine.yaml"]


@pytest.mark.parametrize("name", ["dagster.yaml", "workspace.yaml", "constraints.txt"])
def test_the_repository_uses_the_same_files(name: str):
    """An editor that replaces a link by a file would make two of them."""
    assert (ROOT / name).is_symlink()
    assert (ROOT / name).resolve() == SHIPPED / name


def test_each_shipped_file_goes_into_a_project():
    assert {f".{path.name}" if path.name == "gitignore" else path.name for path in SHIPPED.iterdir()} == {*FILES} - {
        SCHEMA_FILE
    }


def test_the_systemd_unit_is_for_this_folder_and_this_python(tmp_path):
    folder = tmp_path / "100% media"
    lay_out(folder)
    unit = (folder / "mps.service").read_text()
    assert f"WorkingDirectory={tmp_path}/100%% media\n" in unit
    assert re.search(r'^ExecStart="/.+/mps" up --restart$', unit, re.MULTILINE)
    assert "/srv/mps" not in unit


def test_what_the_image_copies_is_in_the_project(project):
    """The wheel excepted, which its user puts there."""
    text = (project / "Dockerfile").read_text()
    names = [name for sources in COPIED.findall(text) for name in sources.split() if not name.endswith(".whl")]
    assert len(names) == 5
    assert [name for name in names if not (project / name).exists()] == []


def test_the_containers_set_only_variables_that_are_read(project, services):
    """And what they set is valid together."""
    [line] = re.findall(r"^ENV (.+)$", (project / "Dockerfile").read_text(), re.MULTILINE)
    image = dict(word.split("=") for word in line.split())
    environment = image | services["mps"]["environment"]
    assert unknown_variables(environment) == []
    assert {*environment} <= {name for name, _ in variables()}


def test_compose_mounts_folders_and_volumes_that_exist(project, services):
    volumes = yaml.safe_load((project / "compose.yaml").read_text())["volumes"]
    for service in services.values():
        for mount in service["volumes"]:
            source = MOUNTED.match(mount)["source"]
            assert (project / source).is_dir() if source.startswith(".") else source in volumes, mount
    assert {*services["mps"]["depends_on"]} < {*services}
    assert all("healthcheck" in services[name] for name in services["mps"]["depends_on"])


def test_the_addresses_in_compose_are_those_of_its_services(services):
    """Nothing is published beyond this host."""
    published = [port for service in services.values() for port in service.get("ports", ())]
    assert all(port.startswith("127.0.0.1:") for port in published)
    environment = services["mps"]["environment"]
    assert environment["MPS_S3__ENDPOINT_URL"].removeprefix("http://") in services["s3"]["ports"][0]
    assert environment["MPS_S3__ACCESS_KEY_ID"] == services["s3"]["environment"]["ROOT_ACCESS_KEY_ID"]
    assert environment["MPS_S3__SECRET_ACCESS_KEY"] == services["s3"]["environment"]["ROOT_SECRET_ACCESS_KEY"]
    assert "@127.0.0.1:5432/mps" in environment["MPS_DATABASE_URL"]
    assert f"{environment['MPS_S3__ENDPOINT_URL']}/health" in services["s3"]["healthcheck"]["test"]


def test_a_file_in_the_way_of_a_folder_is_an_error(tmp_path):
    (tmp_path / "workflows").write_text("")
    with pytest.raises((MpsError, OSError)):
        lay_out(tmp_path)
