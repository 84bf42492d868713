"""`mps notifications`"""

from __future__ import annotations

import json

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from mps_dagster.errors import InvalidInput
from mps_dagster.notify.local_queue import LocalQueue
from mps_dagster.notify.outbox import Outbox
from mps_dagster.settings import Settings


@click.group()
def notifications() -> None:
    """The embedded queue (workflows that notify `{type: local}`), and events that no receiver took."""


@notifications.command("list")
def list_() -> None:
    """The queues and how many messages each holds."""
    queue = LocalQueue(Settings().queue_path)
    table = Table("queue", "waiting", "received, not acknowledged")
    for name in queue.queues():
        waiting, in_flight = queue.depth(name)
        table.add_row(name, str(waiting), str(in_flight))
    Console().print(table)


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
    local = LocalQueue(Settings().queue_path)
    for message in local.receive(queue, max_messages=count, visibility_s=visibility_s, wait_s=wait_s):
        click.echo(json.dumps({"id": message.id, "receipt": message.receipt, "event": json.loads(message.body)}))
        if acknowledge:
            local.acknowledge(queue, message.receipt)


@notifications.command()
@click.argument("receipt")
@click.option("--queue", default="events", show_default=True)
def acknowledge(receipt: str, queue: str) -> None:
    """Remove a received message; the exit code is 1 if the receipt is no longer valid."""
    if not LocalQueue(Settings().queue_path).acknowledge(queue, receipt):
        raise click.ClickException("the receipt is not valid any more: the message came again, or is gone")


@notifications.command()
def dead() -> None:
    """Events that were put aside: their receiver refused them until patience ran out."""
    outbox = Outbox(Settings().outbox_path)
    table = Table(
        Column("event", overflow="fold"),
        Column("sink", overflow="fold"),
        "attempts",
        Column("last error", overflow="fold"),
    )
    for delivery in outbox.dead():
        table.add_row(delivery.event.id, escape(delivery.lane), str(delivery.attempts), escape(delivery.error))
    Console().print(table)


@notifications.command()
@click.argument("event_ids", nargs=-1, metavar="[EVENT]...")
@click.option("--all", "everything", is_flag=True, help="All that were put aside.")
@click.option("--sink", help="Only those for this sink, as `dead` shows it.")
def resend(event_ids: tuple[str, ...], sink: str | None, *, everything: bool) -> None:
    """Have events that were put aside sent again, at once and with new patience."""
    if not event_ids and not everything and not sink:
        raise click.UsageError("name events, or give --all or --sink")
    outbox = Outbox(Settings().outbox_path)
    aside = [item for item in outbox.dead() if sink in (None, item.lane)]
    unknown = set(event_ids) - {item.event.id for item in aside}
    if unknown:
        raise InvalidInput(f"{', '.join(sorted(unknown))}: not among what was put aside", hint="mps notifications dead")
    chosen = [item for item in aside if not event_ids or item.event.id in event_ids]
    for item in chosen:
        outbox.revive(item)
    click.echo(f"{len(chosen)} will be sent again")
