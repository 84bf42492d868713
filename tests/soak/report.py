"""The tables: what was done, what became of the uploads, how long it took until all was well again."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator

from soak.faults import Fault
from soak.history import Attempt, History
from soak.target import REMOTE
from soak.uploads import Upload
from soak.verdict import Verdict

OF_A_RUN = ("worker", "run", "ffmpeg")


def report(faults: list[Fault], uploads: list[Upload], verdict: Verdict, history: History) -> str:
    return "\n".join([*_faults(faults, uploads, history), "", *_uploads(uploads, verdict, history)])


def _faults(faults: list[Fault], uploads: list[Upload], history: History) -> Iterator[str]:
    seconds: dict[str, list[float]] = defaultdict(list)
    owners = _owners(history) if any(fault.kind.split()[-1] in OF_A_RUN for fault in faults) else {}
    for fault in faults:
        if (recovery := _recovery_s(fault, owners, uploads, history)) is not None:
            seconds[fault.kind].append(recovery)
    yield f"{'fault':<28}{'times':>6}{'measured':>10}{'p50 s':>8}{'max s':>8}"
    for kind, count in sorted(Counter(fault.kind for fault in faults).items()):
        known = seconds[kind]
        figures = f"{statistics.median(known):>8.1f}{max(known):>8.1f}" if known else f"{'-':>8}{'-':>8}"
        yield f"{kind:<28}{count:>6}{len(known):>10}{figures}"
    yield f"{'all':<28}{len(faults):>6}"


def _uploads(uploads: list[Upload], verdict: Verdict, history: History) -> Iterator[str]:
    attempts = [len(history.by_place.get(upload.place, [])) for upload in uploads]
    yield f"{'uploads':<28}{len(uploads):>6}   " + ", ".join(
        f"{kind} {count}" for kind, count in Counter(upload.kind for upload in uploads).items()
    )
    yield f"{'runs':<28}{sum(attempts):>6}   by attempts: " + ", ".join(
        f"{count}: {number}" for count, number in sorted(Counter(attempts).items())
    )
    outcomes = Counter((upload.kind, state.outcome) for upload, state in verdict.states.items())
    for (kind, outcome), count in sorted(outcomes.items()):
        yield f"{f'{kind}, {outcome}':<28}{count:>6}"
    yield f"{'killed at each attempt':<28}{len(verdict.given_up):>6}"
    yield f"{'objects decoded':<28}{verdict.outputs:>6}"
    yield f"{'events received':<28}{len(verdict.events.received):>6}"


def _owners(history: History) -> dict[int, list[Attempt]]:
    """Runs by the processes that their logs name."""
    owners: dict[int, list[Attempt]] = defaultdict(list)
    for attempts in history.by_place.values():
        for attempt in attempts:
            for pid in history.pids(attempt.run_id):
                owners[pid].append(attempt)
    return owners


def _recovery_s(
    fault: Fault, owners: dict[int, list[Attempt]], uploads: list[Upload], history: History
) -> float | None:
    """Until the server answered, until the run's upload had ended well, or else until the next upload had."""
    role = fault.kind.split()[-1]
    if fault.recovered is not None:
        return fault.recovered - fault.until
    if role in OF_A_RUN:
        mine = [attempt for attempt in owners.get(fault.pid, []) if attempt.created_s <= fault.at]
        run_id = fault.run_id or (mine[-1].run_id if mine else "")
        ends = [attempts[-1] for attempts in history.by_place.values() if any(a.run_id == run_id for a in attempts)]
        return next((end.ended_s - fault.until for end in ends if end.ended_s and end.status == "SUCCESS"), None)
    if fault.kind.startswith("kill "):
        return None
    only = {upload.place for upload in uploads if "bucket" not in fault.kind or upload.workflow == REMOTE}
    ends = [
        a for place, attempts in history.by_place.items() if place in only for a in attempts if a.status == "SUCCESS"
    ]
    return min((end.ended_s - fault.until for end in ends if end.ended_s and end.ended_s > fault.until), default=None)
