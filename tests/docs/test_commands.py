"""Every command, option, setting and file that the docs name is there."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import click
import pytest
import yaml
from projects import ROOT

from mps_dagster.cli import mps
from mps_dagster.settings import Settings, unknown_variables
from mps_dagster.tasks import TASKS
from mps_dagster.workflow.new_project import lay_out
from mps_dagster.workflow.parse import parse_document
from mps_dagster.workflow.project import Project
from mps_dagster.workflow.templates import Templates

from .commands import SHELLS, Command, commands, parse
from .pages import PAGES, Block, blocks, code

SHELL = blocks(*SHELLS)
LANGUAGES = {"yaml", "json", "python", "js", "html", "", *SHELLS}
"""Without a language: pictures of characters, and what is printed."""
OTHERS = {"aws", "cd", "cp", "ls", "printf", "python3", ".", "docker", "systemd-analyze"}
"""Programs of others, which are not ours to check."""
MAKEFILE = (ROOT / "Makefile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SETTING = re.compile(r"\bMPS_[A-Z0-9_]*[A-Z0-9]\b")
NOT_SETTINGS = {"MPS_TEST_MEDIA"}

Parsed = tuple[str, Mapping[str, Any]]


def leaves(group: click.Group, path: str = "mps") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from leaves(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


COMMANDS = dict(leaves(mps))


@pytest.fixture
def typed(monkeypatch) -> Callable[..., Parsed]:
    """Which command the arguments choose, and its parameters; nothing runs. Raises click's own errors."""
    for path, command in COMMANDS.items():
        monkeypatch.setattr(command, "callback", lambda _path=path, **parameters: (_path, parameters))

    def typed(*words: str) -> Parsed:
        return mps.main(list(words), standalone_mode=False)

    return typed


def ours(block: Block) -> list[Command]:
    return [command for command in commands(block) if command.program == "mps"]


def by_id(found: list[Block]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("block", found, ids=lambda block: block.id)


def test_every_block_has_a_language_that_is_checked():
    assert [block.id for block in blocks() if block.language not in LANGUAGES] == []
    assert len(SHELL) > 15


def test_every_program_is_known():
    known = {"mps", "make", "pip", "python", "", *OTHERS}
    assert {command.program for block in SHELL for command in commands(block)} <= known


@by_id([block for block in SHELL if ours(block)])
def test_a_command_of_ours_is_taken_with_its_options(typed, block: Block):
    """By click's own parser, up to the point where it would run."""
    for command in ours(block):
        path, parameters = typed(*command.words[1:])
        if path == "mps process" and parameters["document"]:
            check_tasks(parameters["document"])


def check_tasks(document: str) -> None:
    tasks = {kind: {"type": kind, "outputs": outputs} for kind, outputs in yaml.safe_load(document).items()}
    place = {"bucket": "outputs"}
    parse_document(
        {"name": "example", "trigger": {"bucket": "inbox"}, "output": place, "tasks": tasks},
        Templates.load(),
        "--tasks",
    )


def test_new_workflow_takes_the_answers_that_are_shown(tmp_path, monkeypatch):
    """Templates and sinks are looked up when it runs."""
    lay_out(tmp_path)
    for name, value in {"MPS_PROJECT": str(tmp_path), "MPS_HOME": str(tmp_path / ".mps"), "MPS_UI_PORT": "9"}.items():
        monkeypatch.setenv(name, value)
    shown = [command.words[1:] for block in SHELL for command in ours(block) if {"new", "--yes"} <= {*command.words}]
    assert shown
    for words in shown:
        mps.main(list(words), standalone_mode=False)
    assert len(Project.load(Settings()).workflows) == len(shown)


@pytest.mark.parametrize(
    "line", ["mps proces a.mp4", "mps up --restarts", "mps status", "mps backfill plan", "mps tasks --limit many"]
)
def test_a_command_with_a_mistake_would_be_found(typed, line: str):
    [command] = parse(line)
    with pytest.raises(click.UsageError):
        typed(*command.words[1:])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_sentences_exist_with_their_options(page):
    """They may leave out what they work on."""
    for span in code(page):
        words = span.split()
        if words[0] == "mps" and len(words) > 1:
            path = max((path for path in COMMANDS if f"{span} ".startswith(f"{path} ")), key=len, default=None)
            assert path or f"mps {words[1]}" in {path.rpartition(" ")[0] for path in COMMANDS}, span
            options = {option for parameter in COMMANDS[path].params for option in parameter.opts} if path else set()
            assert {word for word in words if word.startswith("--")} <= options, span


@by_id([block for block in SHELL if any(command.variables for command in commands(block))])
def test_settings_are_valid_together(block: Block, monkeypatch, tmp_path):
    """Those of one block; no name is misspelt."""
    environment = {name: value for command in commands(block) for name, value in command.variables}
    ours = {name: value for name, value in environment.items() if name.startswith("MPS_")}
    monkeypatch.chdir(tmp_path)
    for name, value in ours.items():
        monkeypatch.setenv(name, value)
    assert Settings().project == tmp_path
    assert unknown_variables(ours) == []


def test_every_setting_that_a_page_names_exists():
    named = {name for page in PAGES for name in SETTING.findall(page.read_text())}
    assert unknown_variables(dict.fromkeys(named - NOT_SETTINGS, "")) == []


def of_program(name: str) -> list[str]:
    """Its command lines, in blocks and in sentences."""
    inline = [span for page in PAGES for span in code(page) if span.startswith(f"{name} ")]
    return inline + [
        " ".join(command.words) for block in SHELL for command in commands(block) if command.program == name
    ]


def test_make_has_every_target():
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    asked = {words[1] for words in map(str.split, of_program("make")) if len(words) > 1 and "=" not in words[1]}
    assert {"demo", "test", "up"} <= asked
    assert asked <= targets


def test_scripts_and_their_options_exist():
    for line in of_program("python"):
        if "-c" not in line.split():
            script, *words = line.split()[1:]
            text = (ROOT / script).read_text()
            assert [word for word in words if word.startswith("--") and f'"{word}"' not in text] == [], line


def test_what_pip_installs_can_be_built():
    """The wheel of this version, with extras that there are."""
    wheel = f"mps_dagster-{PROJECT['version']}-py3-none-any.whl"
    for line in of_program("pip"):
        name = line.split()[2].strip("'")
        extras = re.findall(r"\[([\w,]+)\]", name)
        assert name.split("[")[0] in {wheel, "mps_dagster"}, line
        assert {extra for names in extras for extra in names.split(",")} <= {*PROJECT["optional-dependencies"]}


def test_a_page_that_counts_the_task_types_counts_all():
    words = {8: "eight", 9: "nine", 10: "ten"}
    counted = {
        word
        for page in PAGES
        for word in re.findall(r"\b(\w+) task types\b", page.read_text())
        if word in words.values()
    }
    assert counted <= {words[len(TASKS)]}
