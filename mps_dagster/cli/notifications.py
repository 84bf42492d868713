"""`mps notifications`"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import click
from rich.table import Table

from mps_dagster.cli.show import whole_lines
from mps_dagster.errors import InvalidInput
from mps_dagster.mps.results import iso
from mps_dagster.notify.local_queue import LocalQueue
from mps_dagster.notify.outbox import Delivery, Outbox
from mps_dagster.settings import Settings


@click.group()
def notifications() -> None:
    """The embedded queue (workflows that notify `{type: local}`), and events on their way to their receivers."""


@notifications.command("list")
def list_() -> None:
    """The queues and how many messages each holds."""
    queue = LocalQueue.of(Settings())
    table = Table("queue", "waiting", "received, not acknowledged")
    for name in queue.queues():
        waiting, in_flight = queue.depth(name)
        table.add_row(name, str(waiting), str(in_flight))
    whole_lines().print(table)


@notifications.command()
@click.option("--queue", default="events", show_default=True)
@click.option("--max", "count", type=click.IntRange(1, 100), default=1, show_default=True)
@click.option(
    "--wait", "wait_s", type=click.FloatRange(0, 600), default=0.0, show_default=True, help="Seconds to wait for one."
)
@click.option("--visibility", "visibility_s", type=click.FloatRange(0, 43200), default=30.0, show_default=True)
@click.option("--acknowledge", is_flag=True, help="Remove them from the queue at once.")
def receive(queue: str, count: int, wait_s: float, visibility_s: float, *, acknowledge: bool) -> None:
    """Print messages as JSON lines: id, receipt and event. Not acknowledged, they come again after the visibility."""
    local = LocalQueue.of(Settings())
    for message in local.receive(queue, max_messages=count, visibility_s=visibility_s, wait_s=wait_s):
        click.echo(json.dumps({"id": message.id, "receipt": message.receipt, "event": json.loads(message.body)}))
        if acknowledge:
            local.acknowledge(queue, message.receipt)


@notifications.command()
@click.argument("receipt")
@click.option("--queue", default="events", show_default=True)
def acknowledge(receipt: str, queue: str) -> None:
    """Remove a received message; the exit code is 1 if the receipt is no longer valid."""
    if not LocalQueue.of(Settings()).acknowledge(queue, receipt):
        raise click.ClickException("the receipt is not valid any more: the message came again, or is gone")


_as_json = click.option("--json", "as_json", is_flag=True, help="A JSON object a line.")


@notifications.command()
@_as_json
def dead(*, as_json: bool) -> None:
    """Dead letters: events that their receiver refused until the attempts ran out."""
    _show(_outbox().dead(), as_json=as_json)


@notifications.command()
@_as_json
def waiting(*, as_json: bool) -> None:
    """Events that are still to be sent: what kept them, and when they are tried again."""
    _show(_outbox().waiting(), as_json=as_json)


def _selection(command: Callable[..., None]) -> Callable[..., None]:
    command = click.option("--sink", help="Only those for this sink, as it is listed.")(command)
    command = click.option("--all", "everything", is_flag=True, help="All of them.")(command)
    return click.argument("event_ids", nargs=-1, metavar="[EVENT]...")(command)


@notifications.command()
@_selection
def resend(event_ids: tuple[str, ...], sink: str | None, *, everything: bool) -> None:
    """Send dead letters again, at once and with a new set of attempts."""
    outbox = _outbox()
    deliveries = _select(outbox.dead(), event_ids, sink, everything=everything)
    for delivery in deliveries:
        outbox.revive(delivery)
    click.echo(f"{len(deliveries)} will be sent again")


@notifications.command()
@_selection
def discard(event_ids: tuple[str, ...], sink: str | None, *, everything: bool) -> None:
    """Discard events that wait or are dead letters: their receiver is gone for good."""
    outbox = _outbox()
    deliveries = _select([*outbox.dead(), *outbox.waiting()], event_ids, sink, everything=everything)
    for delivery in deliveries:
        outbox.discard(delivery, time.time())
    click.echo(f"{len(deliveries)} will not be sent")


def _outbox() -> Outbox:
    return Outbox.of(Settings())


def _select(
    deliveries: list[Delivery], event_ids: tuple[str, ...], sink: str | None, *, everything: bool
) -> list[Delivery]:
    if not event_ids and not everything and not sink:
        raise click.UsageError("name events, or give --all or --sink")
    deliveries = [item for item in deliveries if sink in (None, item.address)]
    unknown = set(event_ids) - {item.event.id for item in deliveries}
    if unknown:
        hint = "mps notifications dead, mps notifications waiting"
        raise InvalidInput(f"{', '.join(sorted(unknown))}: not among them", hint=hint)
    return [item for item in deliveries if not event_ids or item.event.id in event_ids]


def _show(deliveries: list[Delivery], *, as_json: bool) -> None:
    """Print a block of unbroken lines for each, so that ids and sinks can be copied."""
    for item in deliveries:
        next_at = max(item.due_at, time.time()) if item.state == "waiting" else None
        if as_json:
            facts = {"event": item.event.id, "sink": item.address, "attempts": item.attempts, "error": item.error}
            click.echo(json.dumps(facts | {"next_at": next_at and iso(next_at)}))
            continue
        again = f", again at {iso(next_at)}" if next_at else ""
        lines = [f"to {item.address}", f"{item.attempts} attempts{again}", *item.error.splitlines()]
        click.echo("\n  ".join(_printable(line) for line in (item.event.id, *lines)))


def _printable(line: str) -> str:
    """Without control characters: a line may quote a receiver, which must not move the terminal's cursor."""
    return "".join(char if char.isprintable() else "?" for char in line)
