"""The history of an event as commands show it: every attempt, take-over and replay, the oldest first."""

from typing import Any, Final

from shared.events.attempt_history import KEPT_ENTRIES, HistoryEntry, HistoryKind
from worker.operators.events.records import Record
from worker.operators.terminal.output import say, show_table

_EXPLAINED: Final = {
    HistoryKind.TAKE_OVER: "a claim expired unsettled: not known whether its holder sent the event",
    HistoryKind.REPLAY: "made pending again by an operator",
}
"""Of what is no attempt."""


def history_as_dict(record: Record | None) -> dict[str, Any]:
    """To be part of a document; empty where there is no ledger row."""
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
    """Attempts that are counted and no longer, or not yet, noted one by one."""
    noted = sum(entry.kind is HistoryKind.ATTEMPT for entry in record.history)
    return max(0, (record.attempts or 0) - noted)


def show_history(record: Record) -> None:
    """Nothing where there is none."""
    missing = attempts_without_history(record)
    if not record.history and not missing:
        return
    say()
    say("History")
    if missing:
        say(f"{missing} attempts before these are only counted: the last {KEPT_ENTRIES} entries are kept.")
    if record.history:
        columns = ("at", "what", "verdict", "status", "reason", "Statsig's words")
        show_table(columns, [_row(entry) for entry in record.history])


def _row(entry: HistoryEntry) -> tuple[object, ...]:
    reason = _EXPLAINED.get(entry.kind, entry.reason or entry.text)
    # To the millisecond: several attempts fall into one second.
    at = entry.at and f"{entry.at:%Y-%m-%d %H:%M:%S}.{entry.at.microsecond // 1000:03}Z"
    return (at, entry.kind.value.replace("_", "-"), entry.verdict, entry.status, reason, entry.text or "")
