"""The commands in a shell block of the docs."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from .pages import Block

SHELLS = ("sh", "console")
SEPARATORS = {"&&", "||", "|", ";"}
ASSIGNMENT = re.compile(r"(\w+)=(.*)", re.DOTALL)


@dataclass(frozen=True)
class Command:
    """A simple command, as a shell would split it."""

    words: tuple[str, ...]
    variables: tuple[tuple[str, str], ...] = ()
    """Those before the command, or those of `export`."""

    @property
    def program(self) -> str:
        return PurePath(self.words[0]).name if self.words else ""


def lines(block: Block) -> Iterator[str]:
    """What a reader types. A `console` block shows it behind `$`, with what is printed below."""
    typed = re.sub(r"\\\n", " ", block.text)
    for line in typed.splitlines():
        if block.language == "sh":
            yield line
        elif line.startswith("$ "):
            yield line.removeprefix("$ ")


def commands(block: Block) -> list[Command]:
    return [command for line in lines(block) for command in parse(line)]


def parse(line: str) -> Iterator[Command]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if word not in SEPARATORS:
            words.append(word)
        elif words:
            yield _command(words)
            words = []


def _command(words: Sequence[str]) -> Command:
    """Redirections are left out: they say nothing of the command."""
    if ">" in words:
        words = words[: words.index(">")]
    if words[0] == "export":
        return Command((), tuple(_pair(word) for word in words[1:]))
    count = next((number for number, word in enumerate(words) if not ASSIGNMENT.fullmatch(word)), len(words))
    return Command(tuple(words[count:]), tuple(map(_pair, words[:count])))


def _pair(word: str) -> tuple[str, str]:
    name, _, value = word.partition("=")
    return name, value
