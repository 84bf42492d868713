"""Someone who types what a page shows, line by line, and looks whether the answer is the one that the page shows."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .pages import Block

TASK_ID = re.compile(r"mps-WorkflowTask-[0-9a-f]{32}")
HOME_ON_PAGES = "/home/you"
BY_OTHER_TESTS = ("python3 -m venv", "pip install")
"""tests/test_package.py installs the wheel."""
ENTER = "\n" * 20


@dataclass
class Reader:
    """A terminal: its folder, and the TaskId that the last listing showed."""

    home: Path
    environment: Mapping[str, str]
    folder: Path = field(init=False)
    task_id: str = ""

    def __post_init__(self) -> None:
        self.folder = self.home

    def follow(self, block: Block) -> None:
        """All but `mps up`, which the caller starts and which nothing follows in its terminal."""
        self.folder = self.home
        for command, shown in conversation(block):
            if command == "mps up":
                return
            if not command.startswith((*BY_OTHER_TESTS, "export ")):
                self._type(command, [line.replace(HOME_ON_PAGES, str(self.home)) for line in shown])

    def run(self, command: str) -> str:
        """What the command prints; stays in the folder to which it goes."""
        script = f"{command}\nstatus=$?; pwd >&2; exit $status"
        done = subprocess.run(
            ["bash", "-c", script], cwd=self.folder, env=self.environment, input=ENTER, capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        self.folder = Path(done.stderr.splitlines()[-1])
        return done.stdout

    def _type(self, command: str, shown: list[str]) -> None:
        command = TASK_ID.sub(self.task_id, command)
        if command == "mps tasks":
            self.task_id = self._listed(shown[0].split()[-1])
            return
        said = self.run(command)
        if any(map(TASK_ID.search, shown)):
            self.task_id = TASK_ID.search(said)[0]
        words = TASK_ID.sub(self.task_id, " ".join(shown)).split()
        assert set(words) <= set(said.split()), command

    def _listed(self, source: str) -> str:
        """The TaskId in the line of a source, which comes as soon as the upload was found."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            for line in self.run("mps tasks").splitlines():
                if source in line:
                    return TASK_ID.search(line)[0]
            time.sleep(2)
        raise AssertionError(f"no task of {source}")


def conversation(block: Block) -> Iterator[tuple[str, list[str]]]:
    """Each command without its comment, and the lines that are shown below it; `…` stands for others."""
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, *shown = part.splitlines()
        yield re.sub(r"\s+# .*", "", command), [line for line in shown if line != "…"]
