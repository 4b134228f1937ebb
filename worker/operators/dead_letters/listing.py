"""`nest-events dead-letters list`: counts the open dead letters, and lists some one by one."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

from shared.concurrency import gathered
from shared.events.dead_letter_table import DeadLetterSummary, LetterCount, LetterKind, Mismatch
from worker.operators.connections import Connections
from worker.operators.dead_letters.filters import Filters
from worker.operators.dead_letters.selection import Selection, selection
from worker.operators.exit_codes import OK
from worker.operators.terminal.durations import moment, shown
from worker.operators.terminal.output import bar, say, show_json, show_table

GROUPS_SHOWN: Final = 10
"""Reasons, event names and callers listed one by one; the rest is summed up, and `--json` has all."""

_AGES: Final = (timedelta(hours=1), timedelta(days=1), timedelta(days=7))
_AGE_NAMES: Final = ("under 1 hour", "1 to 24 hours", "1 to 7 days", "7 days and more")


async def list_dead_letters(
    connections: Connections, *, filters: Filters, limit: int, newest: bool, as_json: bool
) -> int:
    """Print a summary of the chosen dead letters, and the `limit` oldest or newest of them."""
    now = datetime.now(UTC)
    chosen = selection(filters, now=now)
    summary, _ = await ask_summary(connections, chosen, now=now, limit=limit, newest=newest)
    if as_json:
        show_json(summary)
    else:
        _show(summary, is_all=chosen == Selection())
    return OK


async def ask_summary(
    connections: Connections,
    chosen: Selection,
    *,
    now: datetime,
    limit: int,
    newest: bool,
    after: tuple[datetime, str] | None = None,
) -> tuple[dict[str, Any], list[DeadLetterSummary]]:
    """The summary of the chosen dead letters as a document, and the `limit` letters in it; `after` as in the port.

    Raises:
        StorageUnavailableError: no answer.
    """
    choice = chosen.of_letters()
    await connections.records.now()  # fails early where Spanner is down
    table = connections.dead_letters

    async def open_ones() -> list[DeadLetterSummary]:
        return await table.open(choice, limit=limit, newest=newest, after=after) if limit else []

    answers: list[Any] = await gathered(
        [partial(table.count, choice, ages=[now - age for age in _AGES]), open_ones, table.mismatch]
    )
    counts, listed, mismatch = answers
    return summarize(counts, listed, mismatch, now=now, newest=newest), listed


def summarize(
    counts: Sequence[LetterCount],
    listed: Sequence[DeadLetterSummary],
    mismatch: Mismatch,
    *,
    now: datetime,
    newest: bool,
) -> dict[str, Any]:
    """The summary as a document."""

    def grouped(key: Callable[[LetterCount], str | None]) -> dict[str, int]:
        found: Counter[str] = Counter()
        for each in counts:
            found[key(each) or "(none)"] += each.letters
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    events = sum(each.letters for each in counts)
    return {
        "at": now,
        "events": events,
        "oldest": min((each.oldest for each in counts), default=None),
        "by_reason": grouped(lambda each: each.reason),
        "by_kind": grouped(lambda each: each.kind.value),
        "by_age": grouped(lambda each: _AGE_NAMES[each.age]),
        "by_event_name": grouped(lambda each: each.event_name),
        "by_caller": grouped(lambda each: each.caller),
        "dead_without_letter": mismatch.dead_without_letter,
        "letters_without_dead": mismatch.letters_without_dead,
        "newest_first" if newest else "oldest_first": [_row(each, now) for each in listed],
        "not_listed": events - len(listed),
    }


def _row(letter: DeadLetterSummary, now: datetime) -> dict[str, Any]:
    return {
        "event_id": letter.event_id,
        "message_id": letter.message_id,
        "kind": letter.kind.value,
        "reason": letter.reason,
        "dead_at": letter.dead_at,
        "age": shown(now - letter.dead_at),
        "event_name": letter.event_name,
        "caller": letter.caller,
    }


def _show(summary: dict[str, Any], *, is_all: bool) -> None:
    if not summary["events"]:
        say("No dead letters." if is_all else "No dead letter matches.")
    else:
        say(f"{summary['events']} dead letters, the oldest from {moment(summary['oldest'])}")
        for title in ("reason", "age", "event_name", "caller"):
            say()
            _show_groups(title, summary[f"by_{title}"])
        order = "newest_first" if "newest_first" in summary else "oldest_first"
        say()
        _show_rows(summary[order])
        if summary[order] and summary["not_listed"]:
            say(f"... and {summary['not_listed']} more; --limit lists more, --newest lists the latest first.")
    for line in mismatch_lines(Mismatch(summary["dead_without_letter"], summary["letters_without_dead"])):
        say()
        say(line)


def mismatch_lines(mismatch: Mismatch) -> Iterable[str]:
    """A sentence for each kind of mismatch; none where ledger and dead letters agree."""
    if mismatch.dead_without_letter:
        yield (
            f"{mismatch.dead_without_letter} dead events have no dead letter here: no worker has collected it yet, or "
            "it has expired. `nest-events dead-letters replay --from-rows` rebuilds them from their rows."
        )
    if mismatch.letters_without_dead:
        yield (
            f"{mismatch.letters_without_dead} dead letters belong to events that are not dead. A replay publishes "
            "pending events again, closes the dead letters of delivered ones, and leaves those without a ledger row."
        )


def _show_groups(title: str, groups: dict[str, int]) -> None:
    largest = max(groups.values())
    rows = [(name, count, bar(count, largest)) for name, count in list(groups.items())[:GROUPS_SHOWN]]
    show_table((title.replace("_", " "), "events", ""), rows, right=("events",))
    if len(groups) > GROUPS_SHOWN:
        rest = list(groups.values())[GROUPS_SHOWN:]
        say(f"... and {len(rest)} more with {sum(rest)} events; --json has all")


def _show_rows(rows: Iterable[dict[str, Any]]) -> None:
    columns = ("event_id", "reason", "dead_at", "age", "event_name", "caller")
    table = [[_name(row), *(row[name] for name in columns[1:])] for row in rows]
    if table:
        show_table([name.replace("_", " ") for name in columns], table)


def _name(row: dict[str, Any]) -> str:
    return f"message {row['message_id']}" if row["kind"] == LetterKind.POISON else row["event_id"]
