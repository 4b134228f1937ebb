"""Spanner and its fake behind one interface, for tests that hold for both.

One module, although a long one: it lists every port three times, as the interface and for each of the two.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import astuple, dataclass, field, fields
from datetime import datetime, timedelta
from typing import Any, Protocol

import anyio
from google.cloud.spanner_v1 import KeySet

from shared.events.audit_trail import AuditTrail
from shared.events.complaints import ComplaintTable
from shared.events.dead_letter_table import DeadLetterTable
from shared.events.erasure import Erasure
from shared.events.event_log import EventLogRepository
from shared.events.forward_ledger import LEDGER_TABLE, ForwardLedger
from shared.events.late_forward_ledger import LateForwardLedger
from shared.events.replay_ledger import ReplayLedger
from shared.events.republish_ledger import RepublishLedger
from shared.events.rule_table import RuleTable
from shared.events.timestamps import from_datetime
from shared.process.process_states import ProcessStates
from shared.process.settings import Settings, from_environment
from shared.spanner.audit_trail import SpannerAuditTrail
from shared.spanner.complaints import SpannerComplaintTable
from shared.spanner.connection import open_database
from shared.spanner.dead_letters import SpannerDeadLetterTable
from shared.spanner.erasure import SpannerErasure
from shared.spanner.event_log import LOG_COLUMNS, LOG_TABLE, SpannerEventLogRepository
from shared.spanner.forward_ledger import SpannerForwardLedger
from shared.spanner.late_forward_ledger import SpannerLateForwardLedger
from shared.spanner.process_states import SpannerProcessStates
from shared.spanner.replay_ledger import SpannerReplayLedger
from shared.spanner.republish_ledger import SpannerRepublishLedger
from shared.spanner.rules import SpannerRuleTable
from shared.spanner.transactions import Transactions
from tests.support.fakes.memory_complaints import MemoryComplaintTable
from tests.support.fakes.memory_dead_letter_table import MemoryDeadLetterTable
from tests.support.fakes.memory_erasure import MemoryErasure
from tests.support.fakes.memory_event_log import LedgerRow, MemoryEventLogRepository, MemoryStore
from tests.support.fakes.memory_forward_ledger import MemoryForwardLedger
from tests.support.fakes.memory_late_forward_ledger import MemoryLateForwardLedger
from tests.support.fakes.memory_process_states import MemoryProcessStates
from tests.support.fakes.memory_replay_ledger import MemoryReplayLedger
from tests.support.fakes.memory_republish_ledger import MemoryRepublishLedger
from tests.support.fakes.memory_rules import MemoryAuditTrail, MemoryRuleTable

TIMEOUT_SECONDS = 10.0
"""Of a call: long, since the emulator runs one transaction at a time."""

ENTRIES_PER_STEP = 3
"""Of an erasure's search: few, so that one shard takes several steps."""

_LEDGER_COLUMNS = tuple(each.name for each in fields(LedgerRow))


@dataclass(frozen=True)
class LoggedRow:
    """A row of NestEventLog."""

    event_id: str
    event_name: str
    event_type: str | None
    actor_id: str | None
    event_ts_nanos: int
    metadata: Any
    forward_to_statsig: bool


class Storage(Protocol):
    """The ports over the same tables, and a test's own reads and changes of these."""

    repository: EventLogRepository
    ledger: ForwardLedger
    republishing: RepublishLedger
    processes: ProcessStates
    replays: ReplayLedger
    late: LateForwardLedger
    letters: DeadLetterTable
    rules: RuleTable
    audit: AuditTrail
    complaints: ComplaintTable
    erasure: Erasure
    """Takes steps of a few events."""

    async def another_ledger(self) -> ForwardLedger:
        """One of another process, with its own connection."""
        ...

    async def another_republishing(self) -> RepublishLedger:
        """One of another process, with its own connection."""
        ...

    async def another_replay_ledger(self) -> ReplayLedger:
        """One of another process, with its own connection."""
        ...

    async def another_late_ledger(self) -> LateForwardLedger:
        """One of another process, with its own connection."""
        ...

    async def set_ingested_at(self, event_id: str, at: datetime) -> None:
        """Changes when the event was accepted, as only a test can."""
        ...

    async def logged(self, event_id: str) -> LoggedRow | None: ...

    async def ledger_row(self, event_id: str) -> LedgerRow | None: ...

    async def delete(self, event_id: str) -> None:
        """Deletes the log row, as a retention job would."""
        ...

    async def time_passes(self, seconds: float) -> None:
        """Advances the fake's clock, or waits until Spanner's has advanced."""
        ...

    async def now(self) -> datetime: ...


@dataclass
class MemoryStorage:
    store: MemoryStore = field(default_factory=MemoryStore)

    def __post_init__(self) -> None:
        self.repository: EventLogRepository = MemoryEventLogRepository(self.store)
        self.ledger: ForwardLedger = MemoryForwardLedger(self.store)
        self.republishing: RepublishLedger = MemoryRepublishLedger(self.store)
        self.processes: ProcessStates = MemoryProcessStates(self.store)
        self.replays: ReplayLedger = MemoryReplayLedger(self.store)
        self.late: LateForwardLedger = MemoryLateForwardLedger(self.store)
        self.letters: DeadLetterTable = MemoryDeadLetterTable(self.store)
        self.rules: RuleTable = MemoryRuleTable(self.store)
        self.audit: AuditTrail = MemoryAuditTrail(self.store)
        self.complaints: ComplaintTable = MemoryComplaintTable(self.store)
        self.erasure: Erasure = MemoryErasure(self.store)

    async def another_ledger(self) -> ForwardLedger:
        return MemoryForwardLedger(self.store)

    async def another_republishing(self) -> RepublishLedger:
        return MemoryRepublishLedger(self.store)

    async def another_replay_ledger(self) -> ReplayLedger:
        return MemoryReplayLedger(self.store)

    async def another_late_ledger(self) -> LateForwardLedger:
        return MemoryLateForwardLedger(self.store)

    async def set_ingested_at(self, event_id: str, at: datetime) -> None:
        self.store.ingested_at[event_id] = at

    async def logged(self, event_id: str) -> LoggedRow | None:
        if (row := self.store.log.get(event_id)) is None:
            return None
        event = row.event
        return LoggedRow(
            event_id,
            event.event_name,
            event.event_type,
            event.actor_id,
            event.event_ts_nanos,
            self.store.metadata(event_id),
            row.forward_to_statsig,
        )

    async def ledger_row(self, event_id: str) -> LedgerRow | None:
        row = self.store.ledger.get(event_id)
        return None if row is None else LedgerRow(**dict(zip(_LEDGER_COLUMNS, astuple(row), strict=True)))

    async def delete(self, event_id: str) -> None:
        self.store.delete(event_id)

    async def time_passes(self, seconds: float) -> None:
        self.store.clock.advance(seconds)

    async def now(self) -> datetime:
        return self.store.clock.now()


class SpannerStorage:
    """The ports on Spanner, with databases opened as the processes open them."""

    def __init__(self, database: Any, settings: Settings, stack: AsyncExitStack) -> None:
        self._database = database
        self._settings = settings
        self._stack = stack
        self.repository: EventLogRepository = SpannerEventLogRepository(database, timeout_seconds=TIMEOUT_SECONDS)
        ledger = SpannerForwardLedger(database, timeout_seconds=TIMEOUT_SECONDS, one_at_a_time=True)
        self.ledger: ForwardLedger = ledger
        self.republishing: RepublishLedger = SpannerRepublishLedger(
            ledger.transactions, timeout_seconds=TIMEOUT_SECONDS
        )
        self.processes: ProcessStates = SpannerProcessStates(database, timeout_seconds=TIMEOUT_SECONDS)
        self.replays: ReplayLedger = SpannerReplayLedger(ledger.transactions, timeout_seconds=TIMEOUT_SECONDS)
        self.late: LateForwardLedger = SpannerLateForwardLedger(ledger.transactions, timeout_seconds=TIMEOUT_SECONDS)
        self.letters: DeadLetterTable = SpannerDeadLetterTable(ledger.transactions, timeout_seconds=TIMEOUT_SECONDS)
        self.rules: RuleTable = SpannerRuleTable(ledger.transactions, timeout_seconds=TIMEOUT_SECONDS)
        self.audit: AuditTrail = SpannerAuditTrail(ledger.transactions, timeout_seconds=TIMEOUT_SECONDS)
        self.complaints: ComplaintTable = SpannerComplaintTable(database, timeout_seconds=TIMEOUT_SECONDS)
        self.erasure: Erasure = SpannerErasure(
            ledger.transactions, timeout_seconds=TIMEOUT_SECONDS, entries_per_step=ENTRIES_PER_STEP
        )

    async def another_ledger(self) -> ForwardLedger:
        database = await self._stack.enter_async_context(open_database(self._settings))
        return SpannerForwardLedger(database, timeout_seconds=TIMEOUT_SECONDS, one_at_a_time=True)

    async def another_republishing(self) -> RepublishLedger:
        database = await self._stack.enter_async_context(open_database(self._settings))
        return SpannerRepublishLedger(Transactions(database, one_at_a_time=True), timeout_seconds=TIMEOUT_SECONDS)

    async def another_replay_ledger(self) -> ReplayLedger:
        database = await self._stack.enter_async_context(open_database(self._settings))
        return SpannerReplayLedger(Transactions(database, one_at_a_time=True), timeout_seconds=TIMEOUT_SECONDS)

    async def another_late_ledger(self) -> LateForwardLedger:
        database = await self._stack.enter_async_context(open_database(self._settings))
        return SpannerLateForwardLedger(Transactions(database, one_at_a_time=True), timeout_seconds=TIMEOUT_SECONDS)

    async def set_ingested_at(self, event_id: str, at: datetime) -> None:
        async with self._database.batch() as batch:
            batch.update(LOG_TABLE, ("event_id", "ingested_at"), [(event_id, at)])

    async def logged(self, event_id: str) -> LoggedRow | None:
        row = await self._read(LOG_TABLE, LOG_COLUMNS, event_id)
        if row is None:
            return None
        key, name, kind, actor, at, ingested_at, metadata, forward, *_ = row
        assert ingested_at is not None
        return LoggedRow(key, name, kind, actor, from_datetime(at), dict(metadata), forward)

    async def ledger_row(self, event_id: str) -> LedgerRow | None:
        row = await self._read(LEDGER_TABLE, _LEDGER_COLUMNS, event_id)
        return None if row is None else LedgerRow(**dict(zip(_LEDGER_COLUMNS, row, strict=True)))

    async def _read(self, table: str, columns: tuple[str, ...], event_id: str) -> list[Any] | None:
        async with self._database.snapshot() as snapshot:
            rows = await snapshot.read(table, columns, KeySet(keys=[(event_id,)]))
            found: list[list[Any]] = [row async for row in rows]
        return found[0] if found else None

    async def delete(self, event_id: str) -> None:
        async with self._database.batch() as batch:
            batch.delete(LOG_TABLE, KeySet(keys=[(event_id,)]))

    async def time_passes(self, seconds: float) -> None:
        until = await self.now() + timedelta(seconds=seconds)
        while (left := (until - await self.now()).total_seconds()) >= 0:
            await anyio.sleep(left + 0.001)

    async def now(self) -> datetime:
        async with self._database.snapshot() as snapshot:
            moments: list[datetime] = [row[0] async for row in await snapshot.execute_sql("SELECT CURRENT_TIMESTAMP()")]
        return moments[0]


@asynccontextmanager
async def spanner_storage(environment: Mapping[str, str]) -> AsyncIterator[SpannerStorage]:
    settings = from_environment(Settings, environment)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(open_database(settings))
        yield SpannerStorage(database, settings, stack)
