"""The history of an event's delivery, as its ledger row keeps it; pure.

Each entry is one line of text that can be read as it is in a query's result: `TIME KIND`, followed for an attempt by
`VERDICT REASON STATUS` (`-` for no status) and by Statsig's answer, if it was a refusal. Entries are in the order in
which they were added. The time of an attempt is the worker's, that of the other entries is Spanner's.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

KEPT_ENTRIES: Final = 50
"""The latest entries of one event that are kept. An outage makes fewer: three failures open the circuit, and each probe
after that carries one event, a different one each time. Fifty entries are 4 KB of text, and up to 10 KB more with
Statsig's answers; every claim of the event reads them."""

_NONE: Final = "-"


class HistoryKind(StrEnum):
    ATTEMPT = "attempt"
    """The event was sent, alone or with others: each request that carried it is one."""

    TAKE_OVER = "take_over"
    """Another batch took over a claim that had expired unsettled. Its first holder may have sent the event."""

    REPLAY = "replay"
    """An operator made the dead event pending again."""

    FORWARD = "forward"
    """An operator had the event forwarded, which was stored only until then."""

    UNREADABLE = "unreadable"
    """Written by another version or by hand; kept as it is."""


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    kind: HistoryKind

    at: datetime | None
    """Aware. None for an UNREADABLE entry."""

    verdict: str | None = None
    """Attempts only: a worker.statsig.outcome.SendVerdict."""

    reason: str | None = None
    """Attempts only: a stable word, such as `http_503` or `interrupted`."""

    status: int | None = None
    """Attempts only: the HTTP status, if there was an answer."""

    text: str | None = None
    """For an attempt Statsig's answer, in one line, if it was a refusal. For an UNREADABLE entry the whole line."""


History = tuple[HistoryEntry, ...]


def extended(history: History, entry: HistoryEntry) -> History:
    """The history with one more entry, without the oldest if there would be more than KEPT_ENTRIES."""
    return (*history, entry)[-KEPT_ENTRIES:]


def encode(history: Iterable[HistoryEntry]) -> list[str]:
    """The value of the column `history`."""
    return [_encode(entry) for entry in history]


def decode(lines: Iterable[str | None] | None) -> History:
    """The history in a column's value. Never raises: a line that cannot be parsed becomes an UNREADABLE entry.

    None is the value of a row that has no history yet.
    """
    return tuple(_decode(line) for line in lines or () if line is not None)


def _encode(entry: HistoryEntry) -> str:
    if entry.kind is HistoryKind.UNREADABLE or entry.at is None:
        return entry.text or ""
    line = f"{entry.at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z {entry.kind}"
    if entry.kind is not HistoryKind.ATTEMPT:
        return line
    line += f" {entry.verdict} {entry.reason} {_NONE if entry.status is None else entry.status}"
    return f"{line} {entry.text}" if entry.text else line


def _decode(line: str) -> HistoryEntry:
    try:
        time, kind_word, *rest = line.split(" ")
        at, kind = datetime.fromisoformat(time), HistoryKind(kind_word)
        if at.tzinfo is not None and kind is HistoryKind.ATTEMPT:
            verdict, reason, status, *words = rest
            if words != [""]:
                text = " ".join(words) or None
                return HistoryEntry(kind, at, verdict, reason, None if status == _NONE else int(status), text)
        if at.tzinfo is not None and kind is not HistoryKind.UNREADABLE and not rest:
            return HistoryEntry(kind, at)
    except ValueError:
        pass
    return HistoryEntry(HistoryKind.UNREADABLE, None, text=line)
