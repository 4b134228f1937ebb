"""`nest-events account`: what was accepted, by hour, and what became of it."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from shared.spanner.accounting import LEDGER_RETENTION, HourlyAccount, Unaccounted
from shared.telemetry.metrics import ACCOUNT, gauge
from worker.operators.connections import Connections
from worker.operators.exit_codes import BAD_NEWS, OK, UsageError
from worker.operators.terminal.durations import moment, parse_moment, shown
from worker.operators.terminal.output import bar, say, show_json, show_table
from worker.operators.terminal.progress import reaching

COUNTS: Final = ("accepted", "delivered", "pending", "dead", "possible_duplicates", "unaccounted")

EXAMPLES: Final = 20
"""Of the unaccounted events; how many there are is counted."""

COMPARED: Final = (
    "each event of the event log that was accepted for forwarding, with its row of the forward ledger. One commit of "
    "the ingress writes both, and from then on workers write the ledger alone: so nothing that was accepted is without "
    "a state. What Statsig has, only Statsig can tell."
)


async def report_account(connections: Connections, *, since: str, until: str, as_json: bool) -> int:
    """Hour by hour; the exit code says whether anything is unaccounted."""
    _window(since, until, datetime.now(UTC))  # what is wrong with it is told before anything is asked
    begin, end = _window(since, until, await connections.accounting.now())
    with reaching("Counting", begin, end) as reached:
        hours = await connections.accounting.per_hour(since=begin, until=end, reached=reached)
    totals = {name: sum(getattr(hour, name) for hour in hours) for name in COUNTS}
    if connections.telemetry is not None:
        gauge(connections.telemetry.meter, ACCOUNT, lambda: totals)
    some = await _examples(connections, hours, begin, end)
    if as_json:
        document = {"since": begin, "until": end, "compared": COMPARED, "hours": [_as_dict(hour) for hour in hours]}
        examples = [{"event_id": e.event_id, "ingested_at": e.ingested_at, "state": e.state} for e in some]
        show_json(document | {"total": totals, "unaccounted_events": examples})
    else:
        say(f"Compared, from {moment(begin)} until {moment(end)} ({shown(end - begin)}): {COMPARED}")
        _show(hours, totals)
        if hours:
            _conclude(totals, some)
    return BAD_NEWS if any(hour.unaccounted for hour in hours) else OK


def _window(since: str, until: str, now: datetime) -> tuple[datetime, datetime]:
    begin, end = parse_moment(since, now=now), min(now, parse_moment(until, now=now))
    if now - begin > LEDGER_RETENTION:
        raise UsageError(f"--since {since}: the ledger is kept for {LEDGER_RETENTION.days} days")
    if begin >= end:
        raise UsageError(f"nothing lies between --since {since} and --until {until}")
    return begin, end


async def _examples(
    connections: Connections, hours: Sequence[HourlyAccount], begin: datetime, end: datetime
) -> list[Unaccounted]:
    """Some of what is unaccounted, from the hours that have any."""
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
        say("Nothing was accepted for forwarding within that time.")
        return
    largest = max(hour.accepted for hour in hours)
    rows: list[tuple[Any, ...]] = [
        (f"{hour.hour:%Y-%m-%d %H}:00Z", *(getattr(hour, name) for name in COUNTS), bar(hour.accepted, largest))
        for hour in hours
    ]
    rows.append(("all", *totals.values(), ""))
    titles = [name.replace("_", " ") for name in COUNTS]
    show_table(("hour", *titles, ""), rows, right=titles)


def _conclude(totals: dict[str, int], some: Sequence[Unaccounted]) -> None:
    unaccounted = totals["unaccounted"]
    if not unaccounted:
        say("It adds up: accepted = delivered + pending + dead, in every hour.")
        return
    say(
        f"UNACCOUNTED: {unaccounted} of {totals['accepted']} accepted: the ledger row is missing or in no known state. "
        "See deploy/RUNBOOK.md."
    )
    for each in some:
        say(f"  {each.event_id}  accepted {moment(each.ingested_at)}  {each.state or 'no ledger row'}")
    if unaccounted > len(some):
        say(f"  and {unaccounted - len(some)} more; a narrower --since and --until shows others")
