"""Shows the history of an event: its attempts, take-overs and replays, the oldest first."""

from typing import Any, Final

from shared.events.attempt_history import KEPT_ENTRIES, HistoryEntry, HistoryKind
from worker.operators.events.records import Record
from worker.operators.terminal.output import say, show_table

EXPLAINED: Final = {
    HistoryKind.TAKE_OVER: "a claim expired: its worker may or may not have sent the event",
    HistoryKind.REPLAY: "made pending again by an operator",
    HistoryKind.FORWARD: "stored only until then: made pending by an operator",
}
"""The reason shown for entries that are not attempts."""


def history_as_dict(record: Record | None) -> dict[str, Any]:
    """The history as a part of a document; empty without a record."""
    entries = () if record is None else record.history
    return {
        "history": [
            {
                "at": entry.at,
                "kind": entry.kind.value,
                "verdict": entry.verdict,
                "status": entry.status,
                "reason": entry.reason or entry.text,
                "answer": entry.text if entry.reason else None,
            }
            for entry in entries
        ],
        "attempts_without_history": 0 if record is None else attempts_without_history(record),
    }


def attempts_without_history(record: Record) -> int:
    """How many attempts are only counted: their entries were dropped, or they were made before there was a history."""
    with_entry = sum(entry.kind is HistoryKind.ATTEMPT for entry in record.history)
    return max(0, (record.attempts or 0) - with_entry)


def show_history(record: Record) -> None:
    """Print the history; nothing where there is none."""
    missing = attempts_without_history(record)
    if not record.history and not missing:
        return
    say()
    say("History")
    if missing:
        say(f"{missing} earlier attempts are only counted: the last {KEPT_ENTRIES} entries are kept.")
    if record.history:
        columns = ("at", "what", "verdict", "status", "reason", "Statsig's words")
        show_table(columns, [_row(entry) for entry in record.history])


def _row(entry: HistoryEntry) -> tuple[object, ...]:
    reason = EXPLAINED.get(entry.kind, entry.reason or entry.text)
    # To the millisecond, since several attempts may fall into one second.
    at = entry.at and f"{entry.at:%Y-%m-%d %H:%M:%S}.{entry.at.microsecond // 1000:03}Z"
    return (at, entry.kind.value.replace("_", "-"), entry.verdict, entry.status, reason, entry.text or "")
