"""The reconciler: publishes again what stayed pending, so that whatever was lost on the way still arrives.

It needs to know nothing of why: a process that died between commit and publish, a Pub/Sub outage, a deleted message
and an expired subscription all look the same in the ledger. Several at once do no harm, since everything collapses on
the event_id; shards in random order and jittered pauses keep them from doing the same work at the same time.
"""

import random
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import anyio

from shared import forward_message
from shared.errors import EventLoggingError, UndecodableMessageError
from shared.event import Event
from shared.fault_points import fault_point
from shared.forward_ledger import FORWARD_SHARDS, Attempt, ForwardLedger, Standing
from shared.forward_message import OutgoingMessage
from shared.logs import get_logger
from shared.pubsub import Publisher
from shared.telemetry.tracing import TRACEPARENT
from worker.dead_letters import DeadLetter, DeadLetters
from worker.subscription import ReceivedMessage

BATCH_EVENTS: Final = 200
"""Of one query and one publish. At 64 KiB an event these are 13 MB at the most."""

LONGEST_BACKOFF_FACTOR: Final = 10.0
"""While Pub/Sub or Spanner is down the pause doubles up to this many intervals."""

BURY_SECONDS: Final = 60.0
"""The claim on a row that is dead-lettered: for one publish and one commit."""

REASON: Final = UndecodableMessageError.reason

_log = get_logger()


class Reconciler:
    """Republishes; one per worker process."""

    def __init__(
        self,
        *,
        ledger: ForwardLedger,
        publisher: Publisher,
        dead_letters: DeadLetters,
        after_seconds: float,
        interval_seconds: float,
        events_per_second: float,
        rng: random.Random | None = None,
    ) -> None:
        self._ledger = ledger
        self._publisher = publisher
        self._dead_letters = dead_letters
        self._after_seconds = after_seconds
        self._interval_seconds = interval_seconds
        self._events_per_second = events_per_second
        self._random = rng or random.Random()  # noqa: S311 - jitter

    async def run_for_ever(self) -> None:
        """Reconcile at intervals, until cancelled."""
        failures = 0
        while True:
            factor = min(2.0 ** min(failures, 10), LONGEST_BACKOFF_FACTOR)
            await anyio.sleep(self._interval_seconds * factor * self._random.uniform(0.5, 1.5))
            try:
                await self.reconcile()
            except EventLoggingError as error:
                failures += 1
                _log.warning("reconcile_failed", error=str(error), failures_in_a_row=failures)
            else:
                failures = 0

    async def reconcile(self) -> int:
        """One round over all shards; how many events were published again.

        Raises:
            PublishFailedError, StorageUnavailableError: what is left waits for the next round.
        """
        republished = 0
        for shard in self._random.sample(range(FORWARD_SHARDS), FORWARD_SHARDS):
            while events := await self._ledger.pending(
                shard=shard, older_than_seconds=self._after_seconds, limit=BATCH_EVENTS
            ):
                await self._republish(events)
                fault_point("reconciler_after_publish")
                await self._ledger.note_republished([event.event_id for event in events])
                republished += len(events)
                await anyio.sleep(len(events) / self._events_per_second)
        if republished:
            _log.info("reconciled", events=republished)
        return republished

    async def _republish(self, events: Sequence[Event]) -> None:
        good: list[OutgoingMessage] = []
        bad: dict[str, OutgoingMessage] = {}
        for event in events:
            message = forward_message.encode(event)
            if _decodes(message):
                good.append(message)
            else:
                bad[event.event_id] = message
        if good:
            await self._publisher.publish(good)
        if bad:
            await self._bury(bad)

    async def _bury(self, messages: dict[str, OutgoingMessage]) -> None:
        """A row of which no worker could make an event: without this it would be published again for ever."""
        token = str(uuid.uuid4())
        entries = await self._ledger.claim(list(messages), token=token, seconds=BURY_SECONDS)
        ours = [entry for entry in entries.values() if entry.standing is Standing.CLAIMED]
        now = datetime.now(UTC)
        await self._dead_letters.publish(
            [DeadLetter(_as_received(messages[e.event_id], now), REASON, None, e.attempts, now) for e in ours]
        )
        dead = await self._ledger.settle_dead(
            [Attempt(e.event_id, e.attempts, e.possible_duplicates, now, REASON, None, e.history) for e in ours],
            token=token,
        )
        for event_id in dead:
            _log.warning(
                "message_dead_lettered",
                event_id=event_id,
                reason=REASON,
                traceparent=messages[event_id].attributes.get(TRACEPARENT),
            )


def _decodes(message: OutgoingMessage) -> bool:
    try:
        forward_message.decode(message.data)
    except UndecodableMessageError:
        return False
    return True


def _as_received(message: OutgoingMessage, now: datetime) -> ReceivedMessage:
    return ReceivedMessage("", "", message.data, message.attributes, publish_time=now, delivery_attempt=0)
