"""`nest-events reconcile`: publish pending events again at once, without waiting for a worker's reconciler."""

from collections.abc import Callable, Sequence
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
from worker.operators.state.asking import ANSWER_SECONDS, Unknown, answer_or_unknown
from worker.operators.state.backlog import Backlog
from worker.operators.terminal.durations import parse_age
from worker.operators.terminal.output import say, show_json
from worker.operators.terminal.progress import count_progress
from worker.reconciler import Reconciler

FIRST_INTERVAL_SECONDS: Final = 60.0
"""How long a worker's reconciler leaves alone what was published here. The worker's default, since
RECONCILE_AFTER_SECONDS is not among the operators' settings."""


async def publish_again(
    connections: Connections,
    *,
    now: bool,
    older_than: str | None,
    rate: float,
    as_json: bool,
) -> int:
    """Publish every pending event (`now`), or those that have been pending for `older_than`, once more.

    Exactly one of the two must be given. The count of published events is printed even where the command fails or is
    interrupted.
    """
    if now == (older_than is not None):
        raise UsageError("give either --now or --older-than")
    age = timedelta(0) if older_than is None else parse_age(older_than)
    backlog = Backlog(connections.database, shards=connections.settings.forward_shards)
    await backlog.now()  # fails early where Spanner is down
    counted = await answer_or_unknown(partial(backlog.pending, older_than=age), connections.settings)
    pending = None if isinstance(counted, Unknown) else counted
    note_action("reconcile", choice={"older_than": older_than, "rate": rate}, count=pending, dry_run=False)
    topic = _CountingPublisher(connections.forward_topic)
    try:
        with count_progress("Publishing again", pending) as advance:
            await _reconciler(connections, topic, age=age, rate=rate, advance=advance).reconcile()
    except EventLoggingError:
        _show(counted, topic.published, as_json=as_json, ended_early="failed")
        raise
    except anyio.get_cancelled_exc_class():
        _show(counted, topic.published, as_json=as_json, ended_early="interrupted")
        raise
    _show(counted, topic.published, as_json=as_json)
    return OK


def _reconciler(
    connections: Connections,
    topic: "_CountingPublisher",
    *,
    age: timedelta,
    rate: float,
    advance: Callable[[int], None],
) -> Reconciler:
    """The worker's reconciler, for one round over everything that has been pending for that long."""
    return Reconciler(
        ledger=connections.ledger,
        republish_ledger=connections.republish_ledger,
        publisher=topic,
        dead_letters=DeadLetterPublisher(connections.dead_letter_topic),
        is_resting=lambda: topic.is_unavailable,
        after_seconds=age.total_seconds(),
        interval_seconds=1.0,
        events_per_second=rate,
        shards=connections.settings.forward_shards,
        first_interval_seconds=FIRST_INTERVAL_SECONDS,
        force=True,
        on_page=advance,
    )


_NO_ANSWER: Final = f"Pub/Sub did not answer within {ANSWER_SECONDS:g} s"


class _CountingPublisher:
    """Counts what another Publisher published, and ends the round at the first publish without an answer.

    A worker's reconciler would go on with the next shard, and then with single rows; an operator should not have to
    wait for that.
    """

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self.published = 0
        self.is_unavailable = False

    async def publish(self, messages: Sequence[OutgoingMessage]) -> None:
        if self.is_unavailable:
            raise PublishFailedError(_NO_ANSWER)
        try:
            with anyio.fail_after(ANSWER_SECONDS):
                await self._publisher.publish(messages)
        except TimeoutError as error:
            self.is_unavailable = True
            raise PublishFailedError(_NO_ANSWER) from error
        self.published += len(messages)


def _show(counted: int | Unknown, published: int, *, as_json: bool, ended_early: str | None = None) -> None:
    if as_json:
        pending = None if isinstance(counted, Unknown) else counted
        document = {"pending": pending, "republished": published}
        show_json(document if ended_early is None else document | {"ended_early": ended_early})
        return
    say(f"Pending events found: {counted}. Published again: {published}.")
    if ended_early is not None:
        say(f"Ended early ({ended_early}): run it again. An event that is published twice is sent once.")
