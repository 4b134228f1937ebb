"""`nest-events dead-letters list`: how many, by what, and the oldest ones."""

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any, Final

from worker.operators.connections import Connections
from worker.operators.durations import moment, shown
from worker.operators.exits import OK
from worker.operators.filters import Filters
from worker.operators.gathering import Gathered, explain_none, gathered
from worker.operators.letters import Casualty
from worker.operators.selection import Selection, selected, selection
from worker.operators.terminal import bar, say, show_json, show_table

GROUPS_SHOWN: Final = 10

_AGES: Final = (
    (timedelta(hours=1), "under 1 hour"),
    (timedelta(days=1), "1 to 24 hours"),
    (timedelta(days=7), "1 to 7 days"),
)


async def list_dead_letters(connections: Connections, *, filters: Filters, limit: int, as_json: bool) -> int:
    """A summary of those chosen, and the `limit` oldest ones."""
    choice = selection(filters)
    async with gathered(connections) as all_of_them:
        summary = summarize(all_of_them, choice, limit)
    if as_json:
        show_json(summary)
    elif not all_of_them.casualties:
        say(await explain_none(connections))
    elif not summary["events"]:
        say(f"None of {len(all_of_them.casualties)} events with dead letters matches.")
    else:
        _show(summary)
    return OK


def summarize(found: Gathered, choice: Selection, limit: int) -> dict[str, Any]:
    """The answer as a document."""
    chosen = selected(found.casualties, found.records, choice, found.now)

    def grouped(key: Callable[[Casualty], str | None]) -> dict[str, int]:
        return dict(Counter(key(each) or "(none)" for each in chosen).most_common())

    def caller_of(casualty: Casualty) -> str | None:
        record = found.record(casualty)
        return None if record is None else record.caller

    return {
        "events": len(chosen),
        "dead_letters": sum(len(each.letters) for each in chosen),
        "complete": not found.held.is_full,
        "oldest": chosen[0].dead_at if chosen else None,
        "by_reason": grouped(lambda each: each.latest.reason),
        "by_age": grouped(lambda each: _age(found.now - each.dead_at)),
        "by_event_name": grouped(lambda each: each.latest.event_name),
        "by_caller": grouped(caller_of),
        "oldest_first": [_row(each, caller_of(each), found.now) for each in chosen[:limit]],
    }


def _age(age: timedelta) -> str:
    return next((name for below, name in _AGES if age < below), "7 days and more")


def _row(casualty: Casualty, caller: str | None, now: datetime) -> dict[str, Any]:
    latest = casualty.latest
    return {
        "event_id": latest.event_id,
        "message_id": latest.message.message_id,
        "kind": latest.kind.value,
        "reason": latest.reason,
        "dead_at": casualty.dead_at,
        "age": shown(now - casualty.dead_at),
        "event_name": latest.event_name,
        "caller": caller,
        "dead_letters": len(casualty.letters),
    }


def _show(summary: dict[str, Any]) -> None:
    counts = f"{summary['events']} events, {summary['dead_letters']} dead letters"
    say(f"{counts}; the oldest since {moment(summary['oldest'])}")
    if not summary["complete"]:
        say("There are more: this is what one command holds at the most.")
    for title in ("reason", "age", "event_name", "caller"):
        say()
        groups: dict[str, int] = summary[f"by_{title}"]
        largest = max(groups.values())
        rows = [(name, count, bar(count, largest)) for name, count in list(groups.items())[:GROUPS_SHOWN]]
        show_table((title.replace("_", " "), "events", ""), rows, right=("events",))
        if len(groups) > GROUPS_SHOWN:
            say(f"... and {len(groups) - GROUPS_SHOWN} more")
    say()
    _show_oldest(summary["oldest_first"])


def _show_oldest(rows: Iterable[dict[str, Any]]) -> None:
    columns = ("event_id", "reason", "age", "event_name", "caller")
    table = [[row["event_id"] or f"message {row['message_id']}", *(row[name] for name in columns[1:])] for row in rows]
    if table:
        show_table([name.replace("_", " ") for name in columns], table)
