"""`nest-events reconcile`: publish again what stayed pending, now and not with the worker's next round."""

from typing import Annotated

import anyio
import typer

from shared.event import Event
from shared.spanner_forward_ledger import SpannerForwardLedger
from worker.dead_letters import DeadLetters
from worker.operators.audit import note_action
from worker.operators.connections import Connections
from worker.operators.durations import parse_age
from worker.operators.exits import OK, UsageError
from worker.operators.running import run_command
from worker.operators.situation import pending_events
from worker.operators.terminal import AsJson, say, show_json
from worker.reconciler import Reconciler


class RoundLedger(SpannerForwardLedger):
    """Lists as pending only what was so when the round began, so that a round of any age ends."""

    began: float

    async def pending(self, *, shard: int, older_than_seconds: float, limit: int) -> list[Event]:
        older_than_seconds += anyio.current_time() - self.began
        return await super().pending(shard=shard, older_than_seconds=older_than_seconds, limit=limit)


def reconcile(
    *,
    now: Annotated[bool, typer.Option("--now", help="Everything that is pending, however short.")] = False,
    older_than: Annotated[str | None, typer.Option("--older-than", help="Pending for so long, such as 5m.")] = None,
    rate: Annotated[float, typer.Option(min=1, max=10_000, help="Events a second.")] = 200.0,
    as_json: AsJson = False,
) -> None:
    """Publish again what is pending and in no worker's hands. Safe at any time: an event is sent once all the same.

    \b
    nest-events reconcile --now
    nest-events reconcile --older-than 5m
    """

    async def work(connections: Connections) -> int:
        if now == (older_than is not None):
            raise UsageError("give either --now or --older-than")
        after_seconds = 0.0 if older_than is None else parse_age(older_than).total_seconds()
        timeout = connections.settings.commit_timeout_seconds
        waiting, _ = await pending_events(connections.database, timeout_seconds=timeout)
        pending = sum(each.events for each in waiting)
        note_action("reconcile", choice={"older_than": older_than, "rate": rate}, count=pending, dry_run=False)
        ledger = RoundLedger(connections.database, timeout_seconds=timeout)
        ledger.began = anyio.current_time()
        reconciler = Reconciler(
            ledger=ledger,
            publisher=connections.forward_topic,
            dead_letters=DeadLetters(connections.dead_letter_topic),
            after_seconds=after_seconds,
            interval_seconds=1.0,
            events_per_second=rate,
        )
        republished = await reconciler.reconcile()
        if as_json:
            show_json({"pending": pending, "republished": republished})
        else:
            say(f"{pending} events were pending; {republished} of them published again.")
        return OK

    run_command(work)
