"""The reconciler: publishes again what stayed pending, so that whatever was lost on the way still arrives.

It needs to know nothing of why: a process that died between commit and publish, a Pub/Sub outage, a deleted message
and an expired subscription all look the same in the ledger. Several at once do no harm, since everything collapses on
the event_id; shards in random order and jittered pauses keep them from doing the same work at the same time.
"""

import random
from typing import Final

import anyio

from shared import forward_message
from shared.errors import EventLoggingError
from shared.fault_points import fault_point
from shared.forward_ledger import FORWARD_SHARDS, ForwardLedger
from shared.logs import get_logger
from shared.pubsub import Publisher

BATCH_EVENTS: Final = 200
"""Of one query and one publish. At 64 KiB an event these are 13 MB at the most."""

LONGEST_BACKOFF_FACTOR: Final = 10.0
"""While Pub/Sub or Spanner is down the pause doubles up to this many intervals."""

_log = get_logger()


class Reconciler:
    """Republishes; one per worker process."""

    def __init__(
        self,
        *,
        ledger: ForwardLedger,
        publisher: Publisher,
        after_seconds: float,
        interval_seconds: float,
        events_per_second: float,
        rng: random.Random | None = None,
    ) -> None:
        self._ledger = ledger
        self._publisher = publisher
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
                await self._publisher.publish([forward_message.encode(event) for event in events])
                fault_point("reconciler_after_publish")
                await self._ledger.note_republished([event.event_id for event in events])
                republished += len(events)
                await anyio.sleep(len(events) / self._events_per_second)
        if republished:
            _log.info("reconciled", events=republished)
        return republished
