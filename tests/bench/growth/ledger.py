"""Times the ledger's operations: a claim and a settlement of 500 events, and a page of the reconciler."""

import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final

from shared.events.forward_ledger import DEFAULT_SHARDS, ClaimOutcome, DeliveryRecord
from shared.events.republish_ledger import Cursor
from shared.spanner.forward_ledger import SpannerForwardLedger
from shared.spanner.republish_ledger import SpannerRepublishLedger
from tests.bench.backlog import commit, new_rows
from tests.bench.bench import Figures
from tests.bench.errors import MeasurementError
from tests.bench.percentiles import percentile
from tests.bench.product import TIMEOUT_SECONDS, opened_database
from tests.bench.results import CPU_MS, MAX_MS, P50_MS
from worker.reconciler import PAGE_EVENTS

EVENTS: Final = 500
"""Events of a claim: the most that the worker pulls at once."""

TIMES: Final = 5
"""How often each operation runs in a round."""

CLAIM_SECONDS: Final = 90.0
AGAIN_SECONDS: Final = (3600.0,)
"""The interval until a republished row is due again: no page of a run has it twice."""


class Operations:
    """Operations of a ledger. Figures are for one operation; CPU time is this process's own."""

    def __init__(self, environ: Mapping[str, str], database: Any) -> None:
        self._environ = environ
        self._ledger = SpannerForwardLedger(database, timeout_seconds=TIMEOUT_SECONDS, one_at_a_time=True)
        self._republish_ledger = SpannerRepublishLedger(self._ledger.transactions, timeout_seconds=TIMEOUT_SECONDS)
        self._pages = 0
        self._cursors: dict[int, Cursor | None] = {}

    async def claim(self) -> Figures:
        batches = [await self._committed() for _ in range(TIMES)]

        async def operation() -> None:
            await self._claim(batches.pop(), token=str(uuid.uuid4()))

        return await _figures(operation)

    async def settle(self) -> Figures:
        """Settle events that were claimed before."""
        token = str(uuid.uuid4())
        batches = [await self._committed() for _ in range(TIMES)]
        for event_ids in batches:
            await self._claim(event_ids, token=token)
        attempts = [[_delivered(event_id) for event_id in event_ids] for event_ids in batches]

        async def operation() -> None:
            await self._ledger.settle_delivered(attempts.pop(), token=token, seconds_left=CLAIM_SECONDS)

        return await _figures(operation)

    async def reconcile(self) -> Figures:
        """Find a page of pending rows and mark them: each page from the next shard, after that shard's last page."""

        async def operation() -> None:
            shard = self._pages % DEFAULT_SHARDS
            self._pages += 1
            page = await self._republish_ledger.unpublished(
                shard=shard, after=self._cursors.get(shard), older_than_seconds=0, limit=PAGE_EVENTS
            )
            self._cursors[shard] = page.cursor
            marked = await self._republish_ledger.mark_republished(page.event_ids, intervals=AGAIN_SECONDS)
            if len(marked) < PAGE_EVENTS:
                raise MeasurementError(f"a page had {len(marked)} rows and not {PAGE_EVENTS}: too few were pending")

        return await _figures(operation)

    async def _committed(self) -> list[str]:
        rows = list(new_rows(EVENTS))
        await commit(self._environ, rows)
        return [row.event.event_id for row in rows]

    async def _claim(self, event_ids: list[str], *, token: str) -> None:
        entries = await self._ledger.claim(event_ids, token=token, seconds=CLAIM_SECONDS)
        if any(entry.outcome is not ClaimOutcome.CLAIMED for entry in entries.values()):
            raise MeasurementError("not every event was claimed")


@asynccontextmanager
async def opened_operations(environ: Mapping[str, str]) -> AsyncIterator[Operations]:
    async with opened_database(environ) as database:
        yield Operations(environ, database)


async def _figures(operation: Callable[[], Awaitable[None]]) -> Figures:
    took: list[float] = []
    cpu = time.process_time()
    for _ in range(TIMES):
        began = time.perf_counter()
        await operation()
        took.append(1000 * (time.perf_counter() - began))
    took.sort()
    return {P50_MS: percentile(took, 50), MAX_MS: took[-1], CPU_MS: 1000 * (time.process_time() - cpu) / TIMES}


def _delivered(event_id: str) -> DeliveryRecord:
    return DeliveryRecord(
        event_id=event_id,
        attempts=1,
        possible_duplicates=0,
        last_attempt_at=datetime.now(UTC),
        reason="http_202",
        status=202,
        history=(),
    )
