"""`nest-events warnings`: whose events were warned of or refused, how many, and what to mend."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from shared.events.complaints import OTHER, Complaint, ComplaintChoice, ComplaintKind, ComplaintSums, KindTotal
from worker.operators.complaints.advice import advice_on
from worker.operators.connections import Connections
from worker.operators.exit_codes import OK, UsageError
from worker.operators.terminal.durations import moment, parse_moment, shown
from worker.operators.terminal.output import say, show_json, show_table

LONGEST: Final = timedelta(days=7)
"""A little less than counts are kept (RETENTION), so that no hour of it is deleted in part."""

NONE: Final = "(none)"
"""Shown for no caller, and for an event without a name."""

_COLUMNS: Final = ("caller", "event_name", "kind", "reason", "events", "to_mend")
_NO_TOTAL: Final = KindTotal(0, 0, 0)


async def report_complaints(
    connections: Connections,
    *,
    since: str,
    kind: ComplaintKind | None,
    caller: str | None,
    event_name: str | None,
    limit: int,
    as_json: bool,
) -> int:
    """Print the most frequent complaints. Returns OK, also where there are some: they are the callers' to mend."""
    choice, sums, now = await ask_complaints(
        connections, since=since, kind=kind, caller=caller, event_name=event_name, limit=limit
    )
    if as_json:
        show_json(document(choice, sums))
    else:
        _show(choice, sums, now)
    return OK


async def ask_complaints(
    connections: Connections,
    *,
    since: str,
    kind: ComplaintKind | None,
    caller: str | None,
    event_name: str | None,
    limit: int,
) -> tuple[ComplaintChoice, ComplaintSums, datetime]:
    """What was asked for, its sums, and Spanner's time.

    Raises:
        UsageError: the time is wrong.
        StorageUnavailableError: no answer.
    """
    _beginning(since, datetime.now(UTC))  # a wrong time is refused before any call
    now = await connections.records.now()
    choice = ComplaintChoice(
        since=_beginning(since, now),
        kind=kind,
        caller=_typed(caller),
        event_name=_typed(event_name),
    )
    return choice, await connections.complaints.summed(choice, limit=limit), now


def _beginning(since: str, now: datetime) -> datetime:
    begin = parse_moment(since, now=now)
    if now - begin > LONGEST:
        raise UsageError(f"--since {since}: these counts go back {LONGEST.days} days")
    if begin >= now:
        raise UsageError(f"--since {since} must be earlier than now")
    # Made anew: `replace` breaks the client's own datetimes (google-api-core 2.x).
    return datetime(begin.year, begin.month, begin.day, begin.hour, tzinfo=UTC)


def _typed(name: str | None) -> str | None:
    """What is listed as NONE can be typed so, too."""
    return "" if name == NONE else name


def document(choice: ComplaintChoice, sums: ComplaintSums) -> dict[str, Any]:
    """The sums as a document."""
    totals = {kind: sums.totals.get(kind, _NO_TOTAL) for kind in ComplaintKind}
    return {
        "since": choice.since,
        "warnings": totals[ComplaintKind.WARNING].events,
        "refusals": totals[ComplaintKind.REFUSAL].events,
        "other": sum(total.other for total in totals.values()),
        "most_frequent": [_line(complaint, events) for complaint, events in sums.most_frequent],
        "not_listed": _not_listed(sums),
    }


def _line(complaint: Complaint, events: int) -> dict[str, Any]:
    return {
        "caller": complaint.caller or None,
        "event_name": complaint.event_name or None,
        "kind": complaint.kind.value,
        "reason": complaint.reason,
        "events": events,
        "to_mend": advice_on(complaint.reason),
    }


def _not_listed(sums: ComplaintSums) -> int:
    return sum(total.lines for total in sums.totals.values()) - len(sums.most_frequent)


def _show(choice: ComplaintChoice, sums: ComplaintSums, now: datetime) -> None:
    time = f"since {moment(choice.since)} ({shown(now - choice.since)})"
    if not sums.totals:
        is_all = choice == ComplaintChoice(since=choice.since)
        say(f"No {'warnings and no refusals' if is_all else 'warning or refusal matches'} {time}.")
        return
    say(f"{' and '.join(_counts(sums))} {time}. An event counts for each of its reasons.")
    say()
    titles = [column.replace("_", " ") for column in _COLUMNS]
    lines = (_line(*each) for each in sums.most_frequent)
    show_table(titles, [[line[column] or NONE for column in _COLUMNS] for line in lines], right=("events",))
    if more := _not_listed(sums):
        say(f"... and {more} more; --limit lists more.")
    if other := sum(total.other for total in sums.totals.values()):
        is_chosen = choice.caller is not None or choice.event_name is not None
        say()
        say(
            f"{other} of them are {OTHER}: an ingress counts the most frequent ones of an hour by event name, more of "
            "them by caller, and the rest together. So a count by name is the least that it can be."
            + (" Not all of these need be of the chosen caller or name." if is_chosen else "")
        )


def _counts(sums: ComplaintSums) -> Iterable[str]:
    for kind, total in sums.totals.items():
        yield f"{total.events} {kind.value if total.events == 1 else f'{kind.value}s'}"
