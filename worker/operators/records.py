"""What Spanner knows of events: the event log row without its metadata, its caller, and the ledger row beside it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, cast

from google.cloud.spanner_v1 import KeySet, RequestOptions, param_types

from shared.accounting import SCAN_SECONDS
from shared.attempt_history import History, decode
from shared.event import RESERVED_METADATA_KEY
from shared.event_log import LOG_TABLE
from shared.forward_ledger import LEDGER_TABLE, ForwardState
from shared.spanner import translated
from shared.telemetry.tracing import TRACEPARENT, span_context_of

KEYS_PER_READ: Final = 500
"""At 64 KiB an event these are 32 MB at the most: the metadata comes along, for the caller in it."""

_LOG_COLUMNS: Final = ("event_id", "event_name", "event_type", "actor_id", "event_ts", "ingested_at",
                       "forward_to_statsig", "metadata")  # fmt: skip
_LEDGER_COLUMNS: Final = ("state", "pending_since", "republished", "republished_at", "again_at", "settled_at",
                          "attempts", "last_attempt_at", "last_reason", "last_status", "alone_failures", "not_before",
                          "claimed_until", "replays", "possible_duplicates", "history")  # fmt: skip

_NOW: Final = "SELECT CURRENT_TIMESTAMP()"

_BY_ACTOR: Final = f"""
SELECT event_id FROM {LOG_TABLE}
WHERE actor_id = @actor AND ingested_at >= @since AND ingested_at <= @until
ORDER BY ingested_at DESC LIMIT @limit"""  # noqa: S608 - a constant


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
    trace_id: str | None
    """Where the trace that it was logged under is recorded."""

    state: ForwardState | None
    pending_since: datetime | None
    republished: int | None
    """How often by the reconciler, since it was born or replayed."""

    republished_at: datetime | None
    again_at: datetime | None
    """When the reconciler looks at it again."""

    settled_at: datetime | None
    attempts: int | None
    last_attempt_at: datetime | None
    last_reason: str | None
    last_status: int | None
    alone_failures: int | None
    """How often it failed alone while others were confirmed."""

    not_before: datetime | None
    """Of a suspect: when it may be tried again."""

    claimed_until: datetime | None
    replays: int | None
    possible_duplicates: int | None
    history: History
    """Empty where there is no ledger row, or one from before there was a history."""

    read_at: datetime
    """Spanner's time of the read: what the others are compared with."""

    @property
    def is_waiting(self) -> bool:
        """It stepped aside as a suspect, and its time has not come."""
        return self.not_before is not None and self.not_before > self.read_at

    @property
    def is_in_work(self) -> bool:
        """A worker holds a claim on it that has not expired."""
        return self.claimed_until is not None and self.claimed_until > self.read_at


class Records:
    """Reads of both tables, strong."""

    def __init__(self, database: Any, *, timeout_seconds: float) -> None:
        self._database = database
        self._timeout_seconds = timeout_seconds

    async def now(self) -> datetime:
        """Spanner's time; also how a long query learns at once that nobody would answer it.

        Raises:
            StorageUnavailableError: no answer.
        """
        async with translated(self._timeout_seconds), self._database.snapshot() as snapshot:
            (now,) = [row[0] async for row in await snapshot.execute_sql(_NOW)]
        return cast("datetime", now)

    async def of(self, event_ids: Iterable[str]) -> dict[str, Record]:
        """The records of those that exist, in the order given.

        Raises:
            StorageUnavailableError: no answer.
        """
        wanted = list(dict.fromkeys(event_ids))
        found: dict[str, Record] = {}
        for start in range(0, len(wanted), KEYS_PER_READ):
            found |= await self._read(wanted[start : start + KEYS_PER_READ])
        return found

    async def of_actor(self, actor: str, *, since: datetime, until: datetime, limit: int) -> list[Record]:
        """An actor's events by when they were ingested, the latest first. Reads the whole log: seconds to minutes.

        Raises:
            StorageUnavailableError: no answer.
        """
        parameters = {"actor": actor, "since": since, "until": until, "limit": limit}
        types = {"actor": param_types.STRING, "limit": param_types.INT64}
        types |= dict.fromkeys(("since", "until"), param_types.TIMESTAMP)
        low = RequestOptions(priority=RequestOptions.Priority.PRIORITY_LOW)
        async with translated(SCAN_SECONDS), self._database.snapshot() as snapshot:
            rows = await snapshot.execute_sql(_BY_ACTOR, parameters, types, request_options=low)
            event_ids = [row[0] async for row in rows]
        return list((await self.of(event_ids)).values())

    async def _read(self, event_ids: Sequence[str]) -> dict[str, Record]:
        # By key and not by `IN UNNEST`, for which the emulator reads the whole table once an id.
        keys = KeySet(keys=[(event_id,) for event_id in event_ids])
        async with translated(self._timeout_seconds), self._database.snapshot(multi_use=True) as snapshot:
            (now,) = [row[0] async for row in await snapshot.execute_sql(_NOW)]
            ledger = {
                row[0]: dict(zip(_LEDGER_COLUMNS, row[1:], strict=True))
                async for row in await snapshot.read(LEDGER_TABLE, ("event_id", *_LEDGER_COLUMNS), keys)
            }
            log = {row[0]: row async for row in await snapshot.read(LOG_TABLE, _LOG_COLUMNS, keys)}
        return {
            event_id: _record(log[event_id], ledger.get(event_id), now) for event_id in event_ids if event_id in log
        }


def _record(logged: Sequence[Any], ledger: dict[str, Any] | None, now: datetime) -> Record:
    values: dict[str, Any] = dict(zip(_LOG_COLUMNS, logged, strict=True)) | (ledger or dict.fromkeys(_LEDGER_COLUMNS))
    metadata = values.pop("metadata")
    service = metadata.get(RESERVED_METADATA_KEY, {})
    caller = service.get("caller", {})
    span = span_context_of(service.get(TRACEPARENT))
    state = values.pop("state")
    return Record(
        caller=caller.get("principal"),
        caller_source=caller.get("source"),
        trace_id=None if span is None else f"{span.trace_id:032x}",
        state=None if state is None else ForwardState(state),
        history=decode(values.pop("history")),
        read_at=now,
        **values,
    )
