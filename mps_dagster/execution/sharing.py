"""The groups of a run's subtasks whose outputs are made together, by the first of them that runs on this host.

    <scratch>/<run>/shared/<group>/
        members/<name>.json   a subtask of the group, written by its break-down
        settled/<name>.json   what was run for it, or that it is made alone
        work/<name>/          its files, until its own subtask takes them
        lock                  held while files are made; a process that dies loses it
        begun                 how many processes have begun to make files and have died

Every subtask still claims, verifies and publishes its own output. Whatever goes wrong while outputs are made together, each is
made alone afterwards, so that only the one at fault fails.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field

from mps_dagster.execution.subtask import Subtask
from mps_dagster.ffmpeg.process import Completed
from mps_dagster.ffmpeg.sharing import sharing_key
from mps_dagster.frozen import Facts
from mps_dagster.storage.drafts import write_whole

FOLDER = "shared"
POLL_S = 0.2
MAX_DEATHS = 2
"""After so many processes died while they made a group's files, its members are made alone: it may be the memory they use."""


class Processes(Facts):
    """The ffmpeg processes of one subtask and their cost.

    A process may have worked for other subtasks, too. Then the CPU time is this one's share (by the size of the pictures), and
    wall time and memory are those of the whole process.
    """

    commands: tuple[tuple[str, ...], ...] = ()
    wall_s: float = 0.0
    cpu_s: float = 0.0
    memory_bytes: int = 0
    facts: dict[str, Any] = Field(default_factory=dict)
    """What was measured, for the result."""

    def plus(self, argv: tuple[str, ...], ran: Completed, share: float = 1.0, *, program: str = "ffmpeg") -> Processes:
        return Processes(
            commands=(*self.commands, (program, *argv)),
            wall_s=self.wall_s + ran.wall_s,
            cpu_s=self.cpu_s + share * ran.cpu_s,
            memory_bytes=max(self.memory_bytes, ran.memory_bytes),
            facts=self.facts,
        )

    def then(self, others: Processes) -> Processes:
        """With those that ran afterwards."""
        return Processes(
            commands=(*self.commands, *others.commands),
            wall_s=self.wall_s + others.wall_s,
            cpu_s=self.cpu_s + others.cpu_s,
            memory_bytes=max(self.memory_bytes, others.memory_bytes),
            facts={**self.facts, **others.facts},
        )


class Member(Facts):
    step: str
    """Key of its Dagster step, under which its progress is shown."""
    subtask: Subtask


class Settled(Facts):
    processes: Processes | None = None
    """None = it is made alone."""


def member_name(subtask: Subtask) -> str:
    """Letters, digits, underscores and a dot: a folder in ffmpeg's commands."""
    return f"{subtask.task}.{subtask.id}"


def register(run_dir: Path, members: Iterable[Member]) -> None:
    """Make the members known to one another, before any of them runs."""
    for member in members:
        if group := Group.of(run_dir, member.subtask):
            path = group.folder / "members" / f"{member_name(member.subtask)}.json"
            write_whole(path, member.model_dump_json().encode())


@dataclass(frozen=True, slots=True)
class Group:
    """Subtasks of one run that read one source alike."""

    folder: Path

    @classmethod
    def of(cls, run_dir: Path, subtask: Subtask) -> Group | None:
        """None for a subtask that shares with no other kind of output."""
        key = sharing_key(subtask.plan, subtask.source.media.video) if subtask.plan else ()
        if not key:
            return None
        parts = [subtask.source.bucket, subtask.source.key, subtask.source.etag, *key]
        name = hashlib.sha256("\n".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:32]
        return cls(run_dir / FOLDER / name)

    @property
    def work(self) -> Path:
        """The working directory of processes for several members."""
        return self.folder / "work"

    def members(self) -> dict[str, Member]:
        paths = sorted((self.folder / "members").glob("*.json"))
        return {path.name.removesuffix(".json"): Member.model_validate_json(path.read_bytes()) for path in paths}

    def has_several(self) -> bool:
        return len(list((self.folder / "members").glob("*.json"))) > 1

    def is_settled(self, name: str) -> bool:
        """Whether it is decided how the member is made, and its files are there if it is not made alone."""
        return self._settled(name).exists()

    def settled(self, name: str) -> Settled | None:
        with suppress(FileNotFoundError):
            return Settled.model_validate_json(self._settled(name).read_bytes())
        return None

    def _settled(self, name: str) -> Path:
        return self.folder / "settled" / f"{name}.json"

    def settle(self, name: str, processes: Processes | None) -> None:
        write_whole(self._settled(name), Settled(processes=processes).model_dump_json().encode())

    def take(self, name: str, into: Path, make: Callable[[], None]) -> Processes | None:
        """Move the member's files, once they are made, into a folder; None if it is to be made alone.

        `make` makes the files of all members. Only one process does so; the others wait, and one of them goes on if it dies.
        """
        while (state := self.settled(name)) is None:
            with self._lock() as held:
                if held and not self.is_settled(name):
                    make()
                    if not self.is_settled(name):
                        self.settle(name, None)
            if not held:
                time.sleep(POLL_S)
        if state.processes is None:
            return None
        # If this attempt fails now, the next one has no files.
        self.settle(name, None)
        for path in (self.work / name).iterdir():
            path.rename(into / path.name)
        return state.processes

    @contextmanager
    def _lock(self) -> Iterator[bool]:
        with (self.folder / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True

    @contextmanager
    def attempt(self) -> Iterator[bool]:
        """Counts processes that die in the block; False if they were too many already."""
        path = self.folder / "begun"
        deaths = len(path.read_bytes()) if path.exists() else 0
        if deaths >= MAX_DEATHS:
            yield False
            return
        path.write_bytes(b"." * (deaths + 1))
        try:
            yield True
        finally:
            path.write_bytes(b"." * deaths)


@dataclass(slots=True)
class Waiting:
    """Which steps of a run wait for another step that makes their files, so that they need no worker meanwhile."""

    run_dir: Path
    _members: dict[str, tuple[Group, str]] = field(default_factory=dict)
    """Group and name by step."""
    _sizes: Counter[Group] = field(default_factory=Counter)
    _read: set[Path] = field(default_factory=set)

    def group(self, step: str) -> Group | None:
        """The group of a step that is made together with others, as of the last call of `waiting`."""
        group, _ = self._members.get(step, (None, ""))
        return group if group and self._sizes[group] > 1 else None

    def waiting(self, steps: Iterable[str], busy: Collection[str]) -> set[str]:
        """The steps of whose group one runs that may make their files."""
        self._read_members()
        return {step for step in steps if self._waits(step, busy)}

    def _waits(self, step: str, busy: Collection[str]) -> bool:
        group, name = self._members.get(step, (None, ""))
        if group is None or group.is_settled(name):
            return False
        siblings = (self._members[other] for other in busy if other in self._members)
        return any(other == group and not group.is_settled(sibling) for other, sibling in siblings)

    def _read_members(self) -> None:
        for path in (self.run_dir / FOLDER).glob("*/members/*.json"):
            if path not in self._read:
                self._read.add(path)
                name = path.name.removesuffix(".json")
                group = Group(path.parent.parent)
                self._members[json.loads(path.read_bytes())["step"]] = group, name
                self._sizes[group] += 1
