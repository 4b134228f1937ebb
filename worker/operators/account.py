"""`nest-events account`: the accepted events that were to be forwarded, by hour, and what became of them."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from shared.events.accounting import HourlyAccount, Unaccounted
from shared.events.forward_ledger import LEDGER_RETENTION
from shared.telemetry.metrics import ACCOUNT, gauge
from worker.operators.connections import Connections
from worker.operators.exit_codes import BAD_NEWS, OK, UsageError
from worker.operators.terminal.durations import moment, parse_moment, shown
from worker.operators.terminal.output import bar, say, show_json, show_table
from worker.operators.terminal.progress import time_progress

COUNTS: Final = ("accepted", "delivered", "pending", "dead", "forwarded_later", "possible_duplicates", "unaccounted")

EXAMPLES: Final = 20
"""Unaccounted events shown one by one; beyond that only their number."""

COMPARED: Final = (
    "each event in the event log that was accepted for forwarding, with its row in the forward ledger. The ingress "
    "writes both in one commit, so every accepted event has a state. Events that were stored only at first, and were "
    "forwarded later, are included; their ledger row alone shows it. Delivered means that Statsig confirmed the event; "
    "what Statsig drops later is not visible here."
)


async def report_account(connections: Connections, *, since: str, until: str, as_json: bool) -> int:
    """Print the account; BAD_NEWS where an event is unaccounted."""
    _window(since, until, datetime.now(UTC))  # a wrong window is refused before any call
    begin, end = _window(since, until, await connections.accounting.now())
    with time_progress("Counting", begin, end) as reached:
        hours = await connections.accounting.per_hour(since=begin, until=end, reached=reached)
    totals = {name: sum(getattr(hour, name) for hour in hours) for name in COUNTS}
    if connections.telemetry is not None:
        gauge(connections.telemetry.meter, ACCOUNT, lambda: totals)
    examples = await _examples(connections, hours, begin, end)
    if as_json:
        document = {"since": begin, "until": end, "compared": COMPARED, "hours": [_as_dict(hour) for hour in hours]}
        unaccounted = [{"event_id": e.event_id, "ingested_at": e.ingested_at, "state": e.state} for e in examples]
        show_json(document | {"total": totals, "unaccounted_events": unaccounted})
    else:
        say(f"Compared, from {moment(begin)} until {moment(end)} ({shown(end - begin)}): {COMPARED}")
        _show(hours, totals)
        if hours:
            _conclude(totals, examples)
    return BAD_NEWS if any(hour.unaccounted for hour in hours) else OK


def _window(since: str, until: str, now: datetime) -> tuple[datetime, datetime]:
    begin, end = parse_moment(since, now=now), min(now, parse_moment(until, now=now))
    if now - begin > LEDGER_RETENTION:
        raise UsageError(f"--since {since}: the ledger is kept for {LEDGER_RETENTION.days} days")
    if begin >= end:
        raise UsageError(f"--since {since} must be earlier than --until {until} and than now")
    return begin, end


async def _examples(
    connections: Connections, hours: Sequence[HourlyAccount], begin: datetime, end: datetime
) -> list[Unaccounted]:
    """Up to EXAMPLES unaccounted events, from the hours that have any."""
    found: list[Unaccounted] = []
    for each in hours:
        if each.unaccounted and len(found) < EXAMPLES:
            since, until = max(begin, each.hour), min(end, each.hour + timedelta(hours=1))
            left = EXAMPLES - len(found)
            found += await connections.accounting.unaccounted(since=since, until=until, limit=left)
    return found


def _as_dict(hour: HourlyAccount) -> dict[str, Any]:
    return {"hour": hour.hour, **{name: getattr(hour, name) for name in COUNTS}}


def _show(hours: Sequence[HourlyAccount], totals: dict[str, int]) -> None:
    if not hours:
        say("Nothing was accepted for forwarding in that time.")
        return
    largest = max(hour.accepted for hour in hours)
    rows: list[tuple[Any, ...]] = [
        (f"{hour.hour:%Y-%m-%d %H}:00Z", *(getattr(hour, name) for name in COUNTS), bar(hour.accepted, largest))
        for hour in hours
    ]
    rows.append(("all", *totals.values(), ""))
    titles = [name.replace("_", " ") for name in COUNTS]
    show_table(("hour", *titles, ""), rows, right=titles)


def _conclude(totals: dict[str, int], examples: Sequence[Unaccounted]) -> None:
    unaccounted = totals["unaccounted"]
    if not unaccounted:
        say("It adds up: accepted = delivered + pending + dead, in every hour.")
        return
    say(
        f"UNACCOUNTED: {unaccounted} of {totals['accepted']} accepted events have no ledger row in a known state. "
        "See deploy/RUNBOOK.md."
    )
    for each in examples:
        say(f"  {each.event_id}  accepted {moment(each.ingested_at)}  {each.state or 'no ledger row'}")
    if unaccounted > len(examples):
        say(f"  and {unaccounted - len(examples)} more; a narrower --since and --until shows others")
