"""The reconciler: republishes events that stayed pending, so that lost messages arrive after all.

It does not need the cause: a process that died between commit and publish, a Pub/Sub outage, a deleted message and an
expired subscription all leave the same pending row. Several reconcilers may run at once: a row is marked before it is
published, and only one of them gets the mark. While Statsig is away it rests, because messages would only pile up.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import anyio

from shared.backoff import exponential_backoff
from shared.errors import EventLoggingError, PublishFailedError, StorageUnavailableError
from shared.events.event import Event
from shared.events.forward_ledger import DEFAULT_SHARDS, ForwardLedger
from shared.events.republish_ledger import Cursor, Reached, RepublishLedger
from shared.process.logs import get_logger
from shared.pubsub import Publisher
from worker.dead_letter_publisher import DeadLetterPublisher
from worker.republishing import Republishing
from worker.unpublishable import Unpublishable

PAGE_EVENTS: Final = 200
"""Rows of one transaction and one publish. At 64 KiB an event these are 13 MB at the most."""

INTERVAL_FACTORS: Final = (1, 10, 60, 360)
"""Waits between two messages of a row, as multiples of the first interval: a minute, ten, an hour, then six hours. The
first makes up for a lost publish; after that the worker or Statsig is behind, and a day of it makes seven messages."""

LONGEST_WAIT_FACTOR: Final = INTERVAL_FACTORS[2]
"""How long at most, as a multiple of the first interval, a row is left alone because its message is still to come: an
hour. A message may be lost, and the worker not come there for longer."""

SAMPLE_EVENTS: Final = 5
"""Rows that are republished although it rests. The events at hand for probes may all be bad, and the messages of the
good ones lost: without a sample the circuit would stay open then."""

SAMPLE_INTERVAL_SECONDS: Final = 600.0
"""At this rate an outage of a day makes one more message for each of several hundred events."""

LOG_SECONDS: Final = 1.0
"""A round that goes on longer logs what it has republished meanwhile: one over a large backlog takes hours."""

LONGEST_BACKOFF_FACTOR: Final = 10.0
"""While Pub/Sub or Spanner is down the pause between rounds doubles, up to this many intervals."""

_log = get_logger()


@dataclass(slots=True)
class _ShardScan:
    """The scan of one shard in one round: first rows that are due again, then rows that were never looked at."""

    shard: int
    looks_for_due: bool
    seen: set[str] = field(default_factory=set)
    """Due rows of this round, so that rows that a bug leaves due do not keep it going without end."""


class _Republished:
    """The events that a round has republished, logged every LOG_SECONDS and at its end."""

    def __init__(self) -> None:
        self.events = 0
        self._logged = 0
        self._logged_at = anyio.current_time()

    def add(self, events: int) -> None:
        self.events += events
        if anyio.current_time() - self._logged_at >= LOG_SECONDS:
            self.log()

    def log(self) -> None:
        """Log those that are not yet logged, if any."""
        if self.events > self._logged:
            _log.info("reconciled", events=self.events - self._logged)
        self._logged, self._logged_at = self.events, anyio.current_time()


class Reconciler:
    """One per worker process; for the event loop's thread. Operators and sweeps run a single round of their own."""

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
        chosen: Callable[[Event], bool] | None = None,
        on_page: Callable[[int], None] | None = None,
        reached: Callable[[], datetime | None] = lambda: None,
        rng: random.Random | None = None,
    ) -> None:
        """Republishes rows that have been pending for `after_seconds`, at up to `events_per_second`.

        `first_interval_seconds` is the wait before a row's second message; by default `after_seconds`. `force`, for a
        single round, also takes rows that are not due yet; `chosen` limits it to events for which it returns true.
        `on_page` is called with the number of rows of each page. `reached` returns when the messages that are
        forwarded now were published, if that is known: rows with later messages are left alone for a while.
        Long by its parameters.
        """
        first = after_seconds if first_interval_seconds is None else first_interval_seconds
        intervals = [first * factor for factor in INTERVAL_FACTORS]
        self.is_complete = True
        """Whether the last round looked at every shard to its end."""

        self._ledger = republish_ledger
        self._republishing = Republishing(
            ledger=republish_ledger,
            publisher=publisher,
            unpublishable=Unpublishable(ledger, dead_letters),
            intervals=intervals,
            force=force,
            chosen=chosen,
        )
        self._is_resting = is_resting
        self._after_seconds = after_seconds
        self._interval_seconds = interval_seconds
        self._events_per_second = events_per_second
        self._shards = shards
        self._force = force
        self._on_page = on_page or (lambda _: None)
        self._random = rng or random.Random()  # noqa: S311 - jitter
        # Low watermarks: the rows of a shard that were never looked at begin here. They are reset after the longest
        # interval, so that a row that was skipped waits no longer than any other.
        self._cursors: dict[int, Cursor | None] = {}
        self._cursor_reset_seconds = intervals[-1]
        self._longest_wait = timedelta(seconds=first * LONGEST_WAIT_FACTOR)
        self._reached = reached
        self._cursors_reset_at = self._sampled_at = anyio.current_time()

    async def run_forever(self) -> None:
        """Reconcile at intervals, until cancelled."""
        failures = 0
        while True:
            longest = self._interval_seconds * LONGEST_BACKOFF_FACTOR
            pause = exponential_backoff(self._interval_seconds, longest, failures + 1)
            await anyio.sleep(pause * self._random.uniform(0.5, 1.5))
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
        """Run one round over all shards, a page of each in turn; returns how many events were republished.

        A page that fails ends the round for its shard alone. The round ends early when it has to rest; while it rests
        only a sample is republished, every SAMPLE_INTERVAL_SECONDS.

        Raises:
            PublishFailedError, StorageUnavailableError: the first failure, after the other shards' pages. The rest is
                left to the next round.

        Long by the failures that it survives.
        """
        began = anyio.current_time()
        self.is_complete = True
        if self._is_resting():
            self.is_complete = False
            return await self._sample() if began - self._sampled_at >= SAMPLE_INTERVAL_SECONDS else 0
        if began - self._cursors_reset_at >= self._cursor_reset_seconds:
            self._cursors.clear()
            self._cursors_reset_at = began
        position = self._reached()
        reached = None if position is None else Reached(position, self._longest_wait)
        shards = self._random.sample(range(self._shards), self._shards)
        scans = [_ShardScan(shard, looks_for_due=not self._force) for shard in shards]
        republished = _Republished()
        failure: EventLoggingError | None = None
        while scans and not self._is_resting():
            scan = scans.pop(0)
            try:
                has_more, events = await self._page(scan, began, reached, search=failure is None)
            except (PublishFailedError, StorageUnavailableError) as error:
                failure = failure or error
                continue
            except Exception:  # noqa: BLE001 - nor the round
                _log.exception("reconcile_crashed", shard=scan.shard)
                self.is_complete = False
                continue
            if has_more:
                scans.append(scan)
            republished.add(events)
            await anyio.sleep(events / self._events_per_second)
        self.is_complete = self.is_complete and failure is None and not scans
        republished.log()
        if failure is not None:
            raise failure
        return republished.events

    async def _sample(self) -> int:
        """Republish the oldest rows of some shards, for the circuit to probe with."""
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

    async def _page(self, scan: _ShardScan, began: float, reached: Reached | None, *, search: bool) -> tuple[bool, int]:
        """Republish one page; returns whether the shard may have more, and how many events were republished."""
        if scan.looks_for_due:
            event_ids = await self._ledger.due_again(shard=scan.shard, limit=PAGE_EVENTS)
            events = await self._republishing.republish(event_ids, search=search, reached=reached)
            scan.looks_for_due = len(event_ids) == PAGE_EVENTS and not scan.seen.issuperset(event_ids)
            scan.seen.update(event_ids)
            self._on_page(len(event_ids))
            return True, events
        page = await self._ledger.unpublished(
            shard=scan.shard,
            after=self._cursors.get(scan.shard),
            # Rows that were old enough when the round began, so that it ends however fast new ones come.
            older_than_seconds=self._after_seconds + anyio.current_time() - began,
            limit=PAGE_EVENTS,
            reached=reached,
        )
        events = await self._republishing.republish(page.event_ids, search=search, reached=reached)
        self._cursors[scan.shard] = page.cursor
        self._on_page(len(page.event_ids))
        return len(page.event_ids) == PAGE_EVENTS, events
