"""The event log in memory: the store that all memory ports share, and the repository."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from shared.errors import RowExistsError, StoragePreconditionError, StorageRejectedError
from shared.events import attempt_history
from shared.events.attempt_history import HistoryEntry, HistoryKind, extended
from shared.events.audit_trail import AuditEntry
from shared.events.complaints import HourlyCount
from shared.events.dead_letter_table import DeadLetterRow
from shared.events.event import RESERVED_METADATA_KEY, Event, EventLogRow
from shared.events.event_log import Written
from shared.events.forward_ledger import DEFAULT_SHARDS, ForwardState, forward_shard
from shared.events.rules import Rule
from shared.events.timestamps import EARLIEST_NANOS, LATEST_NANOS
from shared.process.process_states import ProcessState
from shared.traceparent import TRACEPARENT
from tests.support.fakes.manual_clock import ManualClock
from tests.support.fakes.scripted_failures import ScriptedFailures

_UNPAIRED_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(kw_only=True)
class LedgerRow:
    """A row of NestEventForward."""

    event_id: str
    state: str
    pending_since: datetime | None
    republished: int = 0
    republished_at: datetime | None = None
    again_at: datetime | None = None
    settled_at: datetime | None = None
    attempts: int = 0
    last_attempt_at: datetime | None = None
    last_reason: str | None = None
    last_status: int | None = None
    alone_failures: int = 0
    not_before: datetime | None = None
    given_up_reason: str | None = None
    claim_token: str | None = None
    claimed_until: datetime | None = None
    replays: int = 0
    possible_duplicates: int = 0
    forward_shard: int = 0
    history: list[str] | None = None


@dataclass
class MemoryStore:
    """The tables in memory; `clock` stands for Spanner's."""

    clock: ManualClock = field(default_factory=ManualClock)
    shards: int = DEFAULT_SHARDS
    log: dict[str, EventLogRow] = field(default_factory=dict)
    ingested_at: dict[str, datetime] = field(default_factory=dict)
    """When each row of `log` was written."""

    ledger: dict[str, LedgerRow] = field(default_factory=dict)
    processes: dict[str, tuple[ProcessState, datetime]] = field(default_factory=dict)
    """Each process's latest report, and when it came."""

    letters: dict[tuple[str, str], DeadLetterRow] = field(default_factory=dict)
    """By subject and message id."""

    erased: set[str] = field(default_factory=set)
    """The ids of erased events."""

    rules: dict[str, Rule] = field(default_factory=dict)
    audit: list[AuditEntry] = field(default_factory=list)

    complaints: dict[tuple[str, datetime, int], HourlyCount] = field(default_factory=dict)
    """By process, hour and place."""

    def metadata(self, event_id: str) -> Any:
        """Parsed from the stored text, as Spanner returns it."""
        return json.loads(self.log[event_id].metadata_json)

    def event(self, event_id: str) -> Event:
        """The logged event, with its metadata parsed from the stored text.

        Raises:
            ValueError: the text is no object.
        """
        metadata = self.metadata(event_id)
        if not isinstance(metadata, dict):
            raise ValueError("no object")  # noqa: TRY004 - of the data, not of the code
        service = metadata.pop(RESERVED_METADATA_KEY, {})
        return replace(self.log[event_id].event, metadata=metadata, traceparent=service.get(TRACEPARENT))

    def note(self, row: LedgerRow, kind: HistoryKind) -> None:
        """Appends an entry to the row's history, with the store's time."""
        entry = HistoryEntry(kind, self.clock.now())
        row.history = attempt_history.encode(extended(attempt_history.decode(row.history), entry))

    def delete(self, event_id: str) -> None:
        """Deletes the log row and its ledger row, as ON DELETE CASCADE does."""
        self.log.pop(event_id, None)
        self.ledger.pop(event_id, None)


class MemoryEventLogRepository:
    """EventLogRepository on a MemoryStore."""

    def __init__(self, store: MemoryStore, *, failures: ScriptedFailures | None = None) -> None:
        self._store = store
        self.failures = failures or ScriptedFailures()

    async def append(self, rows: Sequence[EventLogRow]) -> None:
        async with self.failures.around("append"):
            for row in rows:
                _reject_what_spanner_would(row)
            # The port forbids equal ids in a call; Spanner answers them as it answers an existing key.
            event_ids = [row.event.event_id for row in rows]
            if len(set(event_ids)) < len(event_ids) or any(event_id in self._store.log for event_id in event_ids):
                raise RowExistsError("a row with this key exists already")
            for row in rows:
                self._store.log[row.event.event_id] = row
                self._store.ingested_at[row.event.event_id] = self._store.clock.now()
                if row.forward_to_statsig:
                    self._store.ledger[row.event.event_id] = LedgerRow(
                        event_id=row.event.event_id,
                        state=ForwardState.PENDING,
                        pending_since=self._store.clock.now(),
                        forward_shard=forward_shard(row.event.event_id, shards=self._store.shards),
                    )

    async def written(self, event_ids: Sequence[str]) -> dict[str, Written]:
        async with self.failures.around("written"):
            found = [self._store.log[event_id] for event_id in event_ids if event_id in self._store.log]
            return {row.event.event_id: Written(row.request_digest, row.write_id) for row in found}


def _reject_what_spanner_would(row: EventLogRow) -> None:
    event = row.event
    for text, limit in (
        (event.event_id, 36),
        (event.event_name, 256),
        (event.event_type or "", 128),
        (event.actor_id or "", 256),
    ):
        if _UNPAIRED_SURROGATE.search(text):
            raise StorageRejectedError("not a text")
        if len(text) > limit:
            raise StoragePreconditionError("a value does not fit its column")
    if not EARLIEST_NANOS <= event.event_ts_nanos <= LATEST_NANOS:
        raise StorageRejectedError("a timestamp out of range")
    try:
        json.loads(row.metadata_json, parse_constant=_not_json)
    except ValueError as error:
        raise StoragePreconditionError("not JSON") from error


def _not_json(constant: str) -> object:
    raise ValueError(constant)
