"""The dead-letter table on Spanner."""

from collections.abc import Collection, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any, Final

from google.cloud.spanner_v1 import param_types

from shared.events.dead_letter_table import (
    DEAD_LETTER_TABLE,
    Closing,
    DeadLetterRow,
    DeadLetterSummary,
    LetterChoice,
    LetterCount,
    LetterKind,
    Mismatch,
    counted,
)
from shared.events.forward_ledger import LEDGER_TABLE
from shared.spanner import dead_letter_rows as table
from shared.spanner.connection import spanner_call
from shared.spanner.erasure import erased_among
from shared.spanner.event_log import LOG_TABLE
from shared.spanner.forward_ledger_rows import DEAD_INDEX
from shared.spanner.mutations import insert, update
from shared.spanner.parts import in_parts
from shared.spanner.reading import AT_INTERVALS, read_by_key
from shared.spanner.transactions import Transactions

LETTERS_PER_READ: Final = 100
"""Letters of one read, and subjects of one closing. Letters of 64 KiB make 9 MB on the wire."""

SUMMARIES_PER_READ: Final = 1000

READ_SECONDS: Final = 60.0
"""The bound on a query over all open letters or dead events: a hundred thousand take some seconds."""

# Without this the emulator refuses to force a NULL-filtered index on a query.
_HINT: Final = "@{spanner_emulator.disable_query_null_filtered_index_check=true}"

# Reads only the index of open letters; the condition is true for every entry.
_OPEN: Final = f"FROM {DEAD_LETTER_TABLE}@{{FORCE_INDEX={table.OPEN_INDEX}}} WHERE open_shard >= 0"

# Reads only the indexes of dead events and of open letters.
_BOTH: Final = f"""
(SELECT event_id FROM {LEDGER_TABLE}@{{FORCE_INDEX={DEAD_INDEX}}} WHERE dead_shard >= 0) AS f
FULL JOIN (SELECT subject {_OPEN} AND kind != 'poison') AS l ON l.subject = f.event_id"""  # noqa: S608 - constants

_MISMATCH: Final = f"{_HINT} SELECT COUNTIF(l.subject IS NULL), COUNTIF(f.event_id IS NULL) FROM {_BOTH}"  # noqa: S608 - as above

_WITHOUT_LETTER: Final = f"""
{_HINT} SELECT f.event_id FROM {_BOTH}
WHERE l.subject IS NULL AND f.event_id > @after ORDER BY f.event_id LIMIT @limit"""  # noqa: S608 - as above


class SpannerDeadLetterTable:
    """DeadLetterTable on NestEventDeadLetter."""

    def __init__(self, transactions: Transactions, *, timeout_seconds: float) -> None:
        """`transactions` are those of the SpannerForwardLedger on the same database."""
        self._transactions = transactions
        self._timeout_seconds = timeout_seconds

    async def collect(self, letters: Sequence[DeadLetterRow]) -> int:
        async def work(transaction: Any) -> int:
            event_ids = sorted({each.event_id for each in letters if each.event_id is not None})
            states = await read_by_key(transaction, LEDGER_TABLE, table.LEDGER_COLUMNS, event_ids)
            ledger = {row.event_id: row for row in (table.LedgerRow(*values) for values in states)}
            erased = await erased_among(transaction, set(event_ids) - ledger.keys())
            wanted = [each for each in letters if each.event_id not in erased]
            logged = await read_by_key(transaction, LOG_TABLE, ("event_id", "caller"), event_ids)
            callers = {event_id: caller for event_id, caller in logged}  # noqa: C416 - mypy refuses dict(logged)
            places = [table.Place(*row) for row in await _read(transaction, table.PLACE_COLUMNS, _subjects(letters))]
            found = table.collected(wanted, places, ledger, callers)
            if found.inserts:
                insert(transaction, DEAD_LETTER_TABLE, table.INSERTED_COLUMNS, found.inserts)
            if found.closings:
                update(transaction, DEAD_LETTER_TABLE, table.CLOSED_COLUMNS, found.closings)
            return len(found.inserts)

        return await self._transactions.run(work, within_seconds=self._timeout_seconds) if letters else 0

    async def count(self, choice: LetterChoice, *, ages: Sequence[datetime]) -> list[LetterCount]:
        if choice.subjects is not None:
            return counted(await self._open_of(choice), ages)
        clause, values, types = _chosen(choice)
        names = [f"age{number}" for number in range(len(ages))]
        values |= dict(zip(names, ages, strict=True))
        types |= dict.fromkeys(names, param_types.TIMESTAMP)
        age = " + ".join(["0", *(f"IF(dead_at <= @{name}, 1, 0)" for name in names)])
        query = f"""{_HINT} SELECT kind, reason, event_name, caller, {age} AS age, COUNT(*), MIN(dead_at)
            {_OPEN}{clause} GROUP BY kind, reason, event_name, caller, age"""
        return [LetterCount(LetterKind(kind), *rest) for kind, *rest in await self._query(query, values, types)]

    async def open(
        self,
        choice: LetterChoice,
        *,
        limit: int | None = None,
        newest: bool = False,
        after: tuple[datetime, str] | None = None,
    ) -> list[DeadLetterSummary]:
        if choice.subjects is not None:
            place = attrgetter("dead_at", "subject")
            found = sorted(await self._open_of(choice), key=place, reverse=newest)
            beyond = [
                each for each in found if after is None or (place(each) < after if newest else place(each) > after)
            ]
            return beyond[:limit]
        clause, values, types = _chosen(choice)
        order = "DESC" if newest else "ASC"
        if after is not None:
            sign = "<" if newest else ">"
            clause += f" AND dead_at {sign}= @last_at AND (dead_at {sign} @last_at OR subject {sign} @last_subject)"
            values |= {"last_at": after[0], "last_subject": after[1]}
            types |= {"last_at": param_types.TIMESTAMP, "last_subject": param_types.STRING}
        ending = f"ORDER BY dead_at {order}, subject {order}"
        if limit is not None:
            ending += " LIMIT @limit"
            values |= {"limit": limit}
            types |= {"limit": param_types.INT64}
        query = f"{_HINT} SELECT {', '.join(table.SUMMARY_COLUMNS)} {_OPEN}{clause} {ending}"
        return [table.summary(row) for row in await self._query(query, values, types)]

    async def _open_of(self, choice: LetterChoice) -> list[DeadLetterSummary]:
        """The open letters of a choice that names its subjects, read by key."""

        async def read(part: Sequence[str]) -> list[Sequence[Any]]:
            async with spanner_call(self._timeout_seconds), self._transactions.database.snapshot() as snapshot:
                return await _read(snapshot, (*table.SUMMARY_COLUMNS, "open_shard"), part)

        named = sorted(set(choice.subjects or ()))
        parts = await in_parts(named, read, rows=SUMMARIES_PER_READ) if named else []
        rows = [row for part in parts for row in part]
        found = [table.summary(summary) for *summary, open_shard in rows if open_shard is not None]
        return [each for each in found if choice.takes(each)]

    async def of(self, subjects: Collection[str]) -> dict[str, list[DeadLetterRow]]:
        async def read(part: Sequence[str]) -> list[Sequence[Any]]:
            async with spanner_call(self._timeout_seconds), self._transactions.database.snapshot() as snapshot:
                return await _read(snapshot, table.ROW_COLUMNS, part)

        found: dict[str, list[DeadLetterRow]] = {}
        if subjects:
            for rows in await in_parts(sorted(set(subjects)), read, rows=LETTERS_PER_READ):
                for letter in map(table.letter, rows):
                    found.setdefault(letter.subject, []).append(letter)
        for letters in found.values():
            letters.sort(key=lambda each: (each.dead_at, each.message_id))
        return found

    async def close(self, subjects: Collection[str], by: Closing) -> int:
        async def close_part(part: Sequence[str]) -> int:
            async def work(transaction: Any) -> int:
                return len(await close_open(transaction, part, by))

            return await self._transactions.run(work, within_seconds=self._timeout_seconds)

        parts = await in_parts(sorted(set(subjects)), close_part, rows=LETTERS_PER_READ) if subjects else []
        return sum(parts)

    async def mismatch(self) -> Mismatch:
        (row,) = await self._query(_MISMATCH, {}, {})
        return Mismatch(*row)

    async def dead_without_letter(self, *, after: str = "", limit: int) -> list[str]:
        types = {"after": param_types.STRING, "limit": param_types.INT64}
        return [row[0] for row in await self._query(_WITHOUT_LETTER, {"after": after, "limit": limit}, types)]

    async def _query(self, query: str, values: dict[str, Any], types: dict[str, Any]) -> list[Sequence[Any]]:
        async with spanner_call(READ_SECONDS), self._transactions.database.snapshot() as snapshot:
            rows = await snapshot.execute_sql(query, values or None, types or None, retry=AT_INTERVALS)
            return [row async for row in rows]


async def close_open(transaction: Any, subjects: Collection[str], by: Closing) -> set[str]:
    """Close the open letters of these subjects within a transaction, and return the subjects that had one."""
    rows = [table.Place(*row) for row in await _read(transaction, table.PLACE_COLUMNS, subjects)] if subjects else []
    found = [place for place in rows if place.open_shard is not None]
    if found:
        closings = [table.closing(place.subject, place.message_id, by) for place in found]
        update(transaction, DEAD_LETTER_TABLE, table.CLOSED_COLUMNS, closings)
    return {place.subject for place in found}


def _subjects(letters: Sequence[DeadLetterRow]) -> set[str]:
    return {each.subject for each in letters}


async def _read(reader: Any, columns: Sequence[str], subjects: Collection[str]) -> list[Sequence[Any]]:
    keys = table.of_subjects(subjects)
    return [row async for row in await reader.read(DEAD_LETTER_TABLE, columns, keys, retry=AT_INTERVALS)]


def _chosen(choice: LetterChoice) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """The conditions that a choice adds to _OPEN, their parameters, and the parameters' types."""
    texts = param_types.Array(param_types.STRING)
    given: list[tuple[str, str, Any, Any]] = [
        ("reason IN UNNEST(@reasons)", "reasons", list(choice.reasons) or None, texts),
        ("event_name IN UNNEST(@event_names)", "event_names", list(choice.event_names) or None, texts),
        ("caller IN UNNEST(@callers)", "callers", list(choice.callers) or None, texts),
        ("dead_at <= @dead_until", "dead_until", choice.dead_until, param_types.TIMESTAMP),
        ("dead_at > @dead_after", "dead_after", choice.dead_after, param_types.TIMESTAMP),
    ]
    set_ones = [each for each in given if each[2] is not None]
    clause = "".join(f" AND {condition}" for condition, *_ in set_ones)
    return clause, {name: value for _, name, value, _ in set_ones}, {name: kind for _, name, _, kind in set_ones}
