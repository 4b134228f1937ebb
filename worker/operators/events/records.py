"""Reads events from Spanner: the event log row, without the caller's metadata, and the ledger row."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from google.cloud.spanner_v1 import RequestOptions, param_types

from shared.events.attempt_history import History, decode
from shared.events.event import RESERVED_METADATA_KEY
from shared.events.forward_ledger import LEDGER_TABLE, ForwardState
from shared.spanner.accounting import SCAN_SECONDS
from shared.spanner.connection import spanner_call
from shared.spanner.event_log import EVENTS_BY_TIME, LOG_INDEX, LOG_TABLE
from shared.spanner.parts import in_parts
from shared.spanner.reading import AT_INTERVALS, read_by_key
from shared.spanner.shards import shards_beyond
from shared.spanner.transactions import current_time
from shared.telemetry.tracing import span_context_of
from shared.traceparent import TRACEPARENT

KEYS_PER_READ: Final = 500
"""Records in one read: 32 MB at the most with their metadata, at 64 KiB an event."""

STATES_PER_READ: Final = 1000
"""Ledger states in one read."""

_LOG_COLUMNS: Final = ("event_id", "event_name", "event_type", "actor_id", "event_ts", "ingested_at",
                       "forward_to_statsig", "caller")  # fmt: skip
_STATE_COLUMNS: Final = ("event_id", "state", "replays", "claimed_until", "given_up_reason")
_LEDGER_COLUMNS: Final = ("state", "pending_since", "republished", "republished_at", "again_at", "settled_at",
                          "attempts", "last_attempt_at", "last_reason", "last_status", "alone_failures", "not_before",
                          "given_up_reason", "claimed_until", "replays", "possible_duplicates", "history")  # fmt: skip

# Reads that range of each shard in the index by time, so it costs by the events of the window.
_SEARCH: Final = f"""
SELECT e.event_id FROM {EVENTS_BY_TIME} AND e.ingested_at >= @since AND e.ingested_at < @until"""  # noqa: S608 - a constant


@dataclass(frozen=True, slots=True)
class LedgerState:
    """What decides the outcome of a replay."""

    state: ForwardState
    replays: int
    claimed_until: datetime | None
    given_up_reason: str | None
    """Pending, and only its dead letter is still to be published or settled."""

    read_at: datetime
    """Spanner's time of the read."""

    @property
    def is_in_flight(self) -> bool:
        """A worker holds a claim on it that has not expired."""
        return self.claimed_until is not None and self.claimed_until > self.read_at


@dataclass(frozen=True, slots=True)
class Record:
    """An event log row with its ledger row; the ledger's fields are None where there is none."""

    event_id: str
    event_name: str
    event_type: str | None
    actor_id: str | None
    event_ts: datetime
    ingested_at: datetime
    forward_to_statsig: bool
    caller: str | None
    caller_source: str | None
    """How the caller was established. From the metadata: None where that was not read."""

    trace_id: str | None
    """The trace of the call that logged it. From the metadata; None also where that trace was not recorded."""

    state: ForwardState | None
    pending_since: datetime | None
    republished: int | None
    """How often the reconciler published it, since it was committed or last replayed."""

    republished_at: datetime | None
    again_at: datetime | None
    """When the reconciler will look at it again."""

    settled_at: datetime | None
    attempts: int | None
    last_attempt_at: datetime | None
    last_reason: str | None
    last_status: int | None
    alone_failures: int | None
    """How often it failed alone while others were confirmed."""

    not_before: datetime | None
    """When an event that was set aside may be tried again."""

    given_up_reason: str | None
    """Why it is not sent any more, if its dead letter is still to be published or settled."""

    claimed_until: datetime | None
    replays: int | None
    possible_duplicates: int | None
    history: History
    """Empty where there is no ledger row, or where the row is from before there was a history."""

    read_at: datetime
    """Spanner's time of the read. Compare other times with this one."""

    @property
    def is_set_aside(self) -> bool:
        """It failed alone while others were confirmed, and its next try is not due."""
        return self.not_before is not None and self.not_before > self.read_at

    @property
    def is_in_flight(self) -> bool:
        """A worker holds a claim on it that has not expired."""
        return self.claimed_until is not None and self.claimed_until > self.read_at

    @property
    def ledger_state(self) -> LedgerState | None:
        """None where there is no ledger row."""
        if self.state is None:
            return None
        return LedgerState(self.state, self.replays or 0, self.claimed_until, self.given_up_reason, self.read_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Which events to find: every field that is set must match. Times are aware; `until` itself is excluded."""

    since: datetime
    until: datetime
    event_name: str | None = None
    actor: str | None = None
    caller: str | None = None
    request_id: str | None = None
    """The index does not have it, so the row of each event of the window is read."""


class Records:
    """Strong reads of the event log and the forward ledger."""

    def __init__(self, database: Any, *, timeout_seconds: float, shards: int) -> None:
        self._database = database
        self._shards = shards
        self._timeout_seconds = timeout_seconds

    async def now(self) -> datetime:
        """Spanner's time. Called before long queries too, so that they fail early where Spanner is down.

        Raises:
            StorageUnavailableError: no answer.
        """
        async with spanner_call(self._timeout_seconds), self._database.snapshot() as snapshot:
            return await current_time(snapshot)

    async def of(self, event_ids: Iterable[str], *, with_metadata: bool = True) -> dict[str, Record]:
        """The records of the events that exist, by event_id, in the order given.

        `with_metadata` also reads the metadata, for the fields that the service keeps there.

        Raises:
            StorageUnavailableError: no answer.
        """
        wanted = list(dict.fromkeys(event_ids))
        found: dict[str, Record] = {}
        for start in range(0, len(wanted), KEYS_PER_READ):
            found |= await self._read(wanted[start : start + KEYS_PER_READ], with_metadata=with_metadata)
        return found

    async def ledger_states(self, event_ids: Iterable[str]) -> dict[str, LedgerState]:
        """The states of the events that have a ledger row, by event_id. Reads by key, and only these columns.

        Raises:
            StorageUnavailableError: no answer.
        """
        wanted = sorted(set(event_ids))
        now = await self.now()

        async def read(part: Sequence[str]) -> list[Sequence[Any]]:
            async with spanner_call(self._timeout_seconds), self._database.snapshot() as snapshot:
                return await read_by_key(snapshot, LEDGER_TABLE, _STATE_COLUMNS, part)

        parts = await in_parts(wanted, read, rows=STATES_PER_READ) if wanted else []
        return {
            event_id: LedgerState(ForwardState(state), replays, claimed_until, given_up_reason, now)
            for rows in parts
            for event_id, state, replays, claimed_until, given_up_reason in rows
        }

    async def search(self, chosen: Search, *, limit: int) -> list[Record]:
        """Up to `limit` of the chosen events, the latest first. The cost depends on the events of the window.

        Raises:
            StorageUnavailableError: no answer within SCAN_SECONDS.
        """
        fields = {
            "event_name": chosen.event_name,
            "actor_id": chosen.actor,
            "caller": chosen.caller,
            "request_id": chosen.request_id,
        }
        given = {name: value for name, value in fields.items() if value is not None}
        query = _SEARCH + "".join(f" AND e.{name} = @{name}" for name in given)
        query += " ORDER BY e.ingested_at DESC, e.event_id LIMIT @limit"
        async with spanner_call(self._timeout_seconds):
            beyond = await shards_beyond(self._database, LOG_TABLE, LOG_INDEX, "log_shard", self._shards)
        shards = [*range(self._shards), *beyond]
        parameters = given | {"shards": shards, "since": chosen.since, "until": chosen.until, "limit": limit}
        types = dict.fromkeys(given, param_types.STRING) | {
            "shards": param_types.Array(param_types.INT64),
            "since": param_types.TIMESTAMP,
            "until": param_types.TIMESTAMP,
            "limit": param_types.INT64,
        }
        low = RequestOptions(priority=RequestOptions.Priority.PRIORITY_LOW)
        async with spanner_call(SCAN_SECONDS), self._database.snapshot() as snapshot:
            rows = await snapshot.execute_sql(query, parameters, types, request_options=low, retry=AT_INTERVALS)
            event_ids = [row[0] async for row in rows]
        return list((await self.of(event_ids)).values())

    async def _read(self, event_ids: Sequence[str], *, with_metadata: bool) -> dict[str, Record]:
        columns = (*_LOG_COLUMNS, "metadata") if with_metadata else _LOG_COLUMNS
        async with spanner_call(self._timeout_seconds), self._database.snapshot(multi_use=True) as snapshot:
            now = await current_time(snapshot)
            ledger = {
                row[0]: dict(zip(_LEDGER_COLUMNS, row[1:], strict=True))
                for row in await read_by_key(snapshot, LEDGER_TABLE, ("event_id", *_LEDGER_COLUMNS), event_ids)
            }
            log = {row[0]: row for row in await read_by_key(snapshot, LOG_TABLE, columns, event_ids)}
        return {
            event_id: _record(log[event_id], ledger.get(event_id), now) for event_id in event_ids if event_id in log
        }


def _record(logged: Sequence[Any], ledger: dict[str, Any] | None, now: datetime) -> Record:
    names = (*_LOG_COLUMNS, "metadata")[: len(logged)]
    values: dict[str, Any] = dict(zip(names, logged, strict=True)) | (ledger or dict.fromkeys(_LEDGER_COLUMNS))
    service = _service_part(values.pop("metadata", {}))
    span = span_context_of(service.get(TRACEPARENT))
    state = values.pop("state")
    return Record(
        caller_source=service.get("caller", {}).get("source"),
        trace_id=None if span is None else f"{span.trace_id:032x}",
        state=None if state is None else ForwardState(state),
        history=decode(values.pop("history")),
        read_at=now,
        **values,
    )


def _service_part(metadata: Any) -> dict[str, Any]:
    """What the service itself put into the metadata. A row that was written by hand may hold anything."""
    service = metadata.get(RESERVED_METADATA_KEY) if isinstance(metadata, dict) else None
    return service if isinstance(service, dict) else {}
