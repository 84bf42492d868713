"""`mps notifications`"""

from __future__ import annotations

import json

import click
from rich.console import Console
from rich.table import Table

from mps_dagster.notify.local_queue import LocalQueue
from mps_dagster.settings import Settings


@click.group()
def notifications() -> None:
    """The embedded queue: events of workflows that notify `{type: local}`."""


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
