"""Several commands as one ffmpeg process, which reads and decodes an input once for all of them.

ffmpeg (7 and later) decodes a stream once, however many filter graphs use it, and runs each graph and encoder in threads of
its own. So commands are joined by giving them common inputs: each keeps its own graph, streams, options and file, and its
output is the same as alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from mps_dagster.ffmpeg.picture import RESTARTING
from mps_dagster.ffmpeg.plan import SOURCE

Argv = tuple[str, ...]
SOURCE_FILE = f"file:{SOURCE}"
MAX_OUTPUTS = 16
"""Of one process: each has threads, a graph and an encoder."""
_FILE_OPTIONS = frozenset({"-hls_segment_filename"})
"""Options with a path from the work folder. `-hls_fmp4_init_filename` is beside the playlist already."""
_LABEL = re.compile(r"(?<!\\)\[(s\d+)\]")
_STREAM = re.compile(r"(?<!\\)\[(\d+)((?::[^\]\[]*)?)\]")
"""In a graph, `[s7]` is between two filters and `[1:v:0]` is of input 1. Brackets in a filter's arguments are escaped."""


@dataclass(frozen=True, slots=True)
class Input:
    options: Argv
    file: str


@dataclass(frozen=True, slots=True)
class Command:
    """One command of a plan, as ffmpeg-python writes it: inputs, graph, maps, and one output."""

    inputs: tuple[Input, ...]
    graph: str
    """Empty if no stream is filtered by a complex graph."""
    maps: Argv
    options: Argv
    file: str

    @classmethod
    def parse(cls, argv: Argv) -> Command | None:
        """None if it has another form; such a command runs by itself."""
        inputs, rest = _inputs(argv)
        graph = ""
        if rest[:1] == ("-filter_complex",):
            graph, rest = rest[1], rest[2:]
        maps: list[str] = []
        while rest[:1] == ("-map",):
            maps.append(rest[1])
            rest = rest[2:]
        if not rest:
            return None
        command = cls(inputs, graph, tuple(maps), rest[:-1], rest[-1])
        is_one_output = len(command.options) % 2 == 0 and not {"-i", "-map"} & set(command.options[::2])
        has_file = command.file.startswith("file:") and all(name[:1] == "-" for name in command.options[::2])
        return command if command.argv == argv and inputs and maps and is_one_output and has_file else None

    @property
    def argv(self) -> Argv:
        inputs = [part for item in self.inputs for part in (*item.options, "-i", item.file)]
        graph = ("-filter_complex", self.graph) if self.graph else ()
        return (*inputs, *graph, *(part for stream in self.maps for part in ("-map", stream)), *self.options, self.file)

    @property
    def source(self) -> Input | None:
        """How it reads the source; None if it does not, or in two ways."""
        found = [item for item in self.inputs if item.file == SOURCE_FILE]
        return found[0] if len(found) == 1 else None

    def option(self, name: str) -> str:
        """The value of an output option; empty without it."""
        return next((value for key, value in _pairs(self.options) if key == name), "")

    @property
    def reading(self) -> Argv:
        """Equal for commands that can use the same input. Empty without a source.

        With a seek, or in containers whose clock may restart, ffmpeg's time 0 depends on the streams that are used.
        """
        if self.source is None:
            return ()
        options = dict(_pairs(self.source.options))
        depends = "-ss" in options or options.get("-f") in RESTARTING
        return (*self.source.options, "-i", *(sorted(self._streams) if depends else ()))

    @property
    def _streams(self) -> set[str]:
        """The source's streams that it uses, as `:1`."""
        number = next(number for number, item in enumerate(self.inputs) if item.file == SOURCE_FILE)
        graph = {match[2] for match in _STREAM.finditer(self.graph) if int(match[1]) == number}
        return graph | {stream[len(str(number)) :] for stream in self.maps if stream.startswith(f"{number}:")}


def join(members: Sequence[tuple[str, Command]]) -> Argv:
    """One command for several, each with the folder that its own files are in; empty = the working directory.

    The source is in the working directory. Inputs that read it alike become one; all others stay as they are, so that an
    option of one member (`-t 3`) does not reach another.
    """
    inputs: dict[tuple[Argv, str], Input] = {}
    outputs: list[str] = []
    for number, (folder, command) in enumerate(members):
        indices = []
        for position, item in enumerate(command.inputs):
            shared = item.file == SOURCE_FILE and command.reading
            own = item if shared else Input(item.options, _path(item.file, folder))
            key = (command.reading, "") if shared else ((), f"{number}.{position}")
            inputs.setdefault(key, own)
            indices.append(list(inputs).index(key))
        outputs += _output(command, folder, indices, f"m{number}")
    return (*(part for item in inputs.values() for part in (*item.options, "-i", item.file)), *outputs)


def bundles(members: Iterable[tuple[str, Command]], inputs: int) -> Iterator[list[tuple[str, Command]]]:
    """Split commands into those of one process each, which opens the source at most so many times."""
    bundle: list[tuple[str, Command]] = []
    opened: set[Argv] = set()
    for member in members:
        reading = member[1].reading
        if bundle and (len(opened | {reading}) > inputs or len(bundle) == MAX_OUTPUTS):
            yield bundle
            bundle, opened = [], set()
        bundle.append(member)
        opened.add(reading)
    if bundle:
        yield bundle


def _inputs(argv: Argv) -> tuple[tuple[Input, ...], Argv]:
    inputs: list[Input] = []
    options: list[str] = []
    end = 0
    for name, value in _pairs(argv):
        if name in ("-filter_complex", "-map"):
            break
        if name == "-i":
            inputs.append(Input(tuple(options), value))
            options = []
            end += 2 + len(inputs[-1].options)
        else:
            options += (name, value)
    return tuple(inputs), argv[end:]


def _output(command: Command, folder: str, indices: Sequence[int], prefix: str) -> Iterator[str]:
    """Its graph with labels of its own and the inputs' new numbers, its maps, options and file."""
    if command.graph:
        graph = _LABEL.sub(rf"[{prefix}\1]", command.graph)
        yield "-filter_complex"
        yield _STREAM.sub(lambda match: f"[{indices[int(match[1])]}{match[2]}]", graph)
    for stream in command.maps:
        yield "-map"
        if stream[:1] == "[":
            yield f"[{prefix}{stream[1:]}"
        else:
            number, colon, rest = stream.partition(":")
            yield f"{indices[int(number)]}{colon}{rest}"
    for name, value in _pairs(command.options):
        yield name
        yield _path(value, folder) if name in _FILE_OPTIONS else value
    yield _path(command.file, folder)


def _path(file: str, folder: str) -> str:
    """The file's path in the member's folder; inputs that are no files (`color=black:…`) stay."""
    if not folder:
        return file
    if file.startswith("file:"):
        return f"file:{folder}/{file.removeprefix('file:')}"
    return file if "=" in file else f"{folder}/{file}"


def _pairs(options: Sequence[str]) -> Iterator[tuple[str, str]]:
    return zip(options[::2], options[1::2], strict=False)
