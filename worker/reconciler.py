"""The reconciler: publishes again what stayed pending, so that whatever was lost on the way still arrives.

It needs to know nothing of why: a process that died between commit and publish, a Pub/Sub outage, a deleted message
and an expired subscription all look the same in the ledger. Of several at once each row is one's, since it is marked
before it is published. While Statsig is away it rests: more messages would only wait beside those that wait already.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import anyio

from shared.errors import EventLoggingError, PublishFailedError, StorageUnavailableError
from shared.events.forward_ledger import DEFAULT_SHARDS, ForwardLedger
from shared.events.republish_ledger import Cursor, RepublishLedger
from shared.process.logs import get_logger
from shared.pubsub import Publisher
from worker.dead_letter_publisher import DeadLetterPublisher
from worker.republishing import Republishing
from worker.unpublishable import Unpublishable

PAGE_EVENTS: Final = 200
"""Of one transaction and one publish. At 64 KiB an event these are 13 MB at the most."""

INTERVAL_FACTORS: Final = (1, 10, 60, 360)
"""Of the first interval, between one message of a row and the next: a minute, ten, an hour, then six hours. The first
mends a lost publish; after that it is the worker or Statsig that is behind, and a day of that makes seven messages."""

SAMPLE_EVENTS: Final = 5
SAMPLE_SECONDS: Final = 600.0
"""While it rests. What the circuit probes with may be bad events only, and a good one's message lost: these are a way
out of that, and in an outage of a day one message more of some hundred events."""

LONGEST_BACKOFF_FACTOR: Final = 10.0
"""While Pub/Sub or Spanner is down the pause doubles up to this many intervals."""

_log = get_logger()


@dataclass(slots=True)
class _Walk:
    """A shard in one round."""

    shard: int
    looks_for_due: bool
    """Before what was never looked at: rows that come back, which are due already."""

    seen: set[str] = field(default_factory=set)
    """Of those: what a bug leaves due is not gone through for ever."""


class Reconciler:
    """Republishes; one per worker process."""

    def __init__(
        self,
        *,
        ledger: ForwardLedger,
        republish_ledger: RepublishLedger,
        publisher: Publisher,
        dead_letters: DeadLetterPublisher,
        is_resting: Callable[[], bool],
        after_seconds: float,
        interval_seconds: float,
        events_per_second: float,
        shards: int = DEFAULT_SHARDS,
        first_interval_seconds: float | None = None,
        force: bool = False,
        on_page: Callable[[int], None] | None = None,
        rng: random.Random | None = None,
    ) -> None:
        """`force` is for an operator's single round: all that has been pending for so long, also what is not due yet.

        The first interval is `after_seconds` where nothing else is given. `on_page` is told of each page how many rows
        it had.
        """
        first = after_seconds if first_interval_seconds is None else first_interval_seconds
        intervals = [first * factor for factor in INTERVAL_FACTORS]
        self._ledger = republish_ledger
        self._republishing = Republishing(
            ledger=republish_ledger,
            publisher=publisher,
            unpublishable=Unpublishable(ledger, dead_letters),
            intervals=intervals,
            force=force,
        )
        self._is_resting = is_resting
        self._after_seconds = after_seconds
        self._interval_seconds = interval_seconds
        self._events_per_second = events_per_second
        self._shards = shards
        self._force = force
        self._on_page = on_page or (lambda _: None)
        self._random = rng or random.Random()  # noqa: S311 - jitter
        # Low watermarks: where each shard's rows that nobody looked at begin. They are forgotten after the longest
        # interval, so that a row that was skipped waits no longer than any other.
        self._looked_at: dict[int, Cursor | None] = {}
        self._remember_seconds = intervals[-1]
        self._remembers_since = self._sampled_at = anyio.current_time()

    async def run_forever(self) -> None:
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
            except Exception:  # noqa: BLE001 - a bug here must not end the worker
                failures += 1
                _log.exception("reconcile_crashed")
            else:
                failures = 0

    async def reconcile(self) -> int:
        """One round over all shards, a page of each in turn; how many events were published again.

        A page that fails ends its shard's part of the round and no other's. The round ends early where it is to rest;
        while it rests there is a sample every SAMPLE_SECONDS.

        Raises:
            PublishFailedError, StorageUnavailableError: of the first page that failed, after the round. What is left
                waits for the next one.
        """
        began = anyio.current_time()
        if self._is_resting():
            return await self._sample() if began - self._sampled_at >= SAMPLE_SECONDS else 0
        if began - self._remembers_since >= self._remember_seconds:
            self._looked_at.clear()
            self._remembers_since = began
        shards = self._random.sample(range(self._shards), self._shards)
        walks = [_Walk(shard, looks_for_due=not self._force) for shard in shards]
        republished = 0
        failure: EventLoggingError | None = None
        while walks and not self._is_resting():
            walk = walks.pop(0)
            try:
                goes_on, events = await self._page(walk, began, search=failure is None)
            except (PublishFailedError, StorageUnavailableError) as error:
                failure = failure or error
                continue
            except Exception:  # noqa: BLE001 - nor the round
                _log.exception("reconcile_crashed", shard=walk.shard)
                continue
            if goes_on:
                walks.append(walk)
            republished += events
            await anyio.sleep(events / self._events_per_second)
        if republished:
            _log.info("reconciled", events=republished)
        if failure is not None:
            raise failure
        return republished

    async def _sample(self) -> int:
        """The oldest of some shards, for the circuit to probe with."""
        self._sampled_at = anyio.current_time()
        published = 0
        for shard in self._random.sample(range(self._shards), self._shards):
            if published >= SAMPLE_EVENTS:
                break
            page = await self._ledger.unpublished(
                shard=shard, after=None, older_than_seconds=self._after_seconds, limit=1
            )
            published += await self._republishing.republish(page.event_ids, search=False)
        if published:
            _log.info("reconciled_a_sample", events=published)
        return published

    async def _page(self, walk: _Walk, began: float, *, search: bool) -> tuple[bool, int]:
        """Whether there may be more of the shard, and how many events were published again."""
        if walk.looks_for_due:
            event_ids = await self._ledger.due_again(shard=walk.shard, limit=PAGE_EVENTS)
            events = await self._republishing.republish(event_ids, search=search)
            walk.looks_for_due = len(event_ids) == PAGE_EVENTS and not walk.seen.issuperset(event_ids)
            walk.seen.update(event_ids)
            self._on_page(len(event_ids))
            return True, events
        page = await self._ledger.unpublished(
            shard=walk.shard,
            after=self._looked_at.get(walk.shard),
            # As old as when the round began, so that it ends however fast new ones come.
            older_than_seconds=self._after_seconds + anyio.current_time() - began,
            limit=PAGE_EVENTS,
        )
        events = await self._republishing.republish(page.event_ids, search=search)
        self._looked_at[walk.shard] = page.cursor
        self._on_page(len(page.event_ids))
        return len(page.event_ids) == PAGE_EVENTS, events
