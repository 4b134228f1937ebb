"""`nest-events reconcile`: publish again what stayed pending, now and not with the worker's next round."""

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Final

import anyio

from shared.errors import EventLoggingError, PublishFailedError
from shared.events.forward_message import OutgoingMessage
from shared.pubsub import Publisher
from worker.dead_letter_publisher import DeadLetterPublisher
from worker.operators.audit import note_action
from worker.operators.connections import Connections
from worker.operators.exit_codes import OK, UsageError
from worker.operators.state.asking import ANSWER_SECONDS, Unknown, asked
from worker.operators.state.backlog import Backlog
from worker.operators.terminal.durations import parse_age
from worker.operators.terminal.output import say, show_json
from worker.operators.terminal.progress import advancing
from worker.reconciler import Reconciler

FIRST_INTERVAL_SECONDS: Final = 60.0
"""Before a worker publishes once more what was published here: as the worker itself waits, where it is not set to
something else."""


async def publish_again(
    connections: Connections,
    *,
    now: bool,
    older_than: str | None,
    rate: float,
    as_json: bool,
) -> int:
    """Everything that is pending, or what has been so for `older_than`: one of the two is asked for."""
    if now == (older_than is not None):
        raise UsageError("give either --now or --older-than")
    age = timedelta(0) if older_than is None else parse_age(older_than)
    backlog = Backlog(connections.database, shards=connections.settings.forward_shards)
    await backlog.now()  # where Spanner is gone this says so at once
    counted = await asked(partial(backlog.pending, older_than=age), connections.settings)
    pending = None if isinstance(counted, Unknown) else counted
    note_action("reconcile", choice={"older_than": older_than, "rate": rate}, count=pending, dry_run=False)
    topic = _CountingPublisher(connections.forward_topic)
    try:
        with advancing("Publishing again", pending) as advance:
            await Reconciler(
                ledger=connections.ledger,
                republish_ledger=connections.republish_ledger,
                publisher=topic,
                dead_letters=DeadLetterPublisher(connections.dead_letter_topic),
                is_resting=lambda: topic.is_gone,
                after_seconds=age.total_seconds(),
                interval_seconds=1.0,
                events_per_second=rate,
                shards=connections.settings.forward_shards,
                first_interval_seconds=FIRST_INTERVAL_SECONDS,
                force=True,
                on_page=advance,
            ).reconcile()
    except EventLoggingError:
        _show(counted, topic.published, as_json=as_json, ended_early="failed")
        raise
    except anyio.get_cancelled_exc_class():
        _show(counted, topic.published, as_json=as_json, ended_early="interrupted")
        raise
    _show(counted, topic.published, as_json=as_json)
    return OK


_NO_ANSWER: Final = f"Pub/Sub did not answer within {ANSWER_SECONDS:g} s"


class _CountingPublisher:
    """A Publisher that hands on to another: what was published is known however the round ends.

    A worker goes on after a publish without an answer, to the next shard and to the rows one by one; whoever waits for
    this command should not have to wait for all of that.
    """

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self.published = 0
        self.is_gone = False

    async def publish(self, messages: Sequence[OutgoingMessage]) -> None:
        if self.is_gone:
            raise PublishFailedError(_NO_ANSWER)
        try:
            with anyio.fail_after(ANSWER_SECONDS):
                await self._publisher.publish(messages)
        except TimeoutError as error:
            self.is_gone = True
            raise PublishFailedError(_NO_ANSWER) from error
        self.published += len(messages)


def _show(counted: int | Unknown, published: int, *, as_json: bool, ended_early: str | None = None) -> None:
    if as_json:
        pending = None if isinstance(counted, Unknown) else counted
        document = {"pending": pending, "republished": published}
        show_json(document if ended_early is None else document | {"ended_early": ended_early})
        return
    say(f"Events pending for so long: {counted}. Published again: {published}.")
    if ended_early is not None:
        say(f"It was {ended_early} before the end: run it again to go on. What is published twice is sent once.")
