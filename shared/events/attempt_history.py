"""What happened to an event on its way to Statsig, as its ledger row keeps it; pure.

One line of text an entry, readable in a query's result as it is: `TIME KIND`, and of an attempt `VERDICT REASON STATUS`
after that, with `-` for no status, and then what Statsig said with a refusal. Entries are in the order in which they
were noted: an attempt has the worker's time, the others Spanner's.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

KEPT_ENTRIES: Final = 50
"""Of one event, the last ones. Three failures open the circuit, and then a probe carries one event, a different one
each time: fifty are more than a long outage makes. As text they are 4 KB at the most, read and written with every claim
of the event."""

_NONE: Final = "-"


class HistoryKind(StrEnum):
    ATTEMPT = "attempt"
    """The event was sent, alone or with others: each request that carried it is one."""

    TAKE_OVER = "take_over"
    """A claim expired unsettled, and another batch took it over: nobody knows whether its holder sent the event."""

    REPLAY = "replay"
    """An operator made the dead event pending again."""

    UNREADABLE = "unreadable"
    """Noted by another version or by hand; kept as it is."""


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    kind: HistoryKind

    at: datetime | None
    """Aware. None where it is unreadable."""

    verdict: str | None = None
    """Of an attempt: a worker.statsig_outcome.Verdict."""

    reason: str | None = None
    """Of an attempt: a stable word, such as `http_503` or `interrupted`."""

    status: int | None = None
    text: str | None = None
    """Of an attempt: what Statsig said with a refusal, one line. Else what is unreadable."""


History = tuple[HistoryEntry, ...]


def extended(history: History, entry: HistoryEntry) -> History:
    """With one entry more, and without the oldest where that makes too many."""
    return (*history, entry)[-KEPT_ENTRIES:]


def encode(history: Iterable[HistoryEntry]) -> list[str]:
    """As the column has it."""
    return [_encode(entry) for entry in history]


def decode(lines: Iterable[str | None] | None) -> History:
    """Of what the column has; total. A row from before there was a history has None."""
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
