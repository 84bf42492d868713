"""Which outputs of one source are made by one ffmpeg process, and by how many processes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from mps_dagster.ffmpeg.joint import SOURCE_FILE, Argv, Command, bundles, join
from mps_dagster.ffmpeg.plan import Plan
from mps_dagster.media.info import VideoStream

MAX_MEMBERS = 8
"""Outputs that are made together. More save little, as seven decodes of eight are saved already, and use more memory."""
MAX_INPUTS, MAX_INPUT_PIXELS = 8, 32_000_000
"""How many decoders one process may have, and how many pixels their pictures in all: each decoder holds some 20 pictures."""
_SLOW = frozenset({"libx265", "libsvtav1", "libvpx-vp9"})
_STILLS = ("stills",)
_FPS = re.compile(r"\]fps=(?:fps=)?(\d+)(?:/(\d+))?")


@dataclass(frozen=True, slots=True)
class Process:
    """One ffmpeg process."""

    argv: Argv
    shares: Mapping[str, float]
    """Which part of its CPU time counts for which member."""


def sharing_key(plan: Plan, video: VideoStream | None) -> tuple[str, ...]:
    """Equal for the plans on one source that are carried out together; empty for one that is carried out alone.

    Together are: outputs with pictures of the same part of the source, decoded in the same way; single pictures. Alone are:

    - sound and copies: they decode no pictures, and are published long before an encoder ends;
    - what is measured before: its commands are known only then;
    - what is packaged: its commands, if it has any, read files of its parts;
    - GIFs: the second command needs the first one's palette;
    - what `_keeps_pace` refuses.

    Slow encoders share another process than fast ones: decoding is a small part of their work, and the outputs of a process
    are published when its slowest encoder is done. The number of cores does not matter, as fewer decodes save CPU time on any.
    """
    if plan.measures or plan.packaging:
        return ()
    commands = [command for argv in plan.commands if (command := Command.parse(argv)) and command.source]
    if len(commands) < len(plan.commands):
        return ()
    if all(_is_still(command) for command in commands):
        return _STILLS
    if len(commands) > 1 or not commands[0].graph or not _keeps_pace(commands[0], video):
        return ()
    return ("slow" if commands[0].option("-c:v") in _SLOW else "fast", *commands[0].reading)


def processes(plans: Mapping[str, Plan], video: VideoStream | None) -> tuple[Process, ...]:
    """The processes for one plan (in the working directory: ""), or for several with an equal key, each in its own folder."""
    [(folder, first), *others] = plans.items()
    if not others and sharing_key(first, video) != _STILLS:
        return tuple(Process(argv, {folder: 1.0}) for argv in first.commands)
    commands = [
        (folder, command)
        for folder, plan in plans.items()
        for argv in plan.commands
        if (command := Command.parse(argv))
    ]
    weights = {folder: _pixels(plan) for folder, plan in plans.items()}
    return tuple(_process(bundle, weights) for bundle in bundles(commands, max_inputs(video)))


def max_inputs(video: VideoStream | None) -> int:
    """How many times one process may open the source."""
    pixels = video.width * video.height if video else 1
    return max(1, min(MAX_INPUTS, MAX_INPUT_PIXELS // max(1, pixels)))


def _process(bundle: list[tuple[str, Command]], weights: Mapping[str, float]) -> Process:
    argv = bundle[0][1].argv if len(bundle) == 1 and not bundle[0][0] else join(bundle)
    total = sum(weights[folder] for folder, _ in bundle)
    shares: dict[str, float] = {}
    for folder, _ in bundle:
        shares[folder] = shares.get(folder, 0.0) + weights[folder] / total
    return Process(argv, shares)


def _keeps_pace(command: Command, video: VideoStream | None) -> bool:
    """Whether the graph makes at most one picture of each one that it gets, and has no other clock.

    ffmpeg 9 lets a graph that has more pictures to give wait for outputs that are behind. Their pictures come from the same
    decoder, which waits for this graph to take its next one, so the process would hang.
    """
    if video is None or any(item.file != SOURCE_FILE and "png_pipe" not in item.options for item in command.inputs):
        return False
    for numerator, denominator in _FPS.findall(command.graph):
        rate, own = Fraction(int(numerator), int(denominator or 1)), video.frame_rate
        if video.variable_frame_rate or own is None or rate > own or (rate == own and video.rounded_times):
            return False
    return True


def _is_still(command: Command) -> bool:
    return command.option("-frames:v") == "1" and command.option("-update") == "1"


def _pixels(plan: Plan) -> float:
    """The size of its pictures, which an encoder's time mostly depends on."""
    expected = plan.outputs[0].expected
    return float((expected.width or 1) * (expected.height or 1))
