"""`nest-events account`: what was accepted, by hour, and what became of it."""

from collections.abc import Sequence
from typing import Any, Final

from shared.accounting import LEDGER_RETENTION, HourlyAccount
from shared.telemetry.metrics import ACCOUNT, gauge
from worker.operators.connections import Connections
from worker.operators.durations import parse_age
from worker.operators.exits import BAD_NEWS, OK, UsageError
from worker.operators.terminal import bar, say, show_json, show_table

COUNTS: Final = ("accepted", "delivered", "pending", "dead", "possible_duplicates", "unaccounted")


async def report_account(connections: Connections, *, since: str, as_json: bool) -> int:
    """Hour by hour; the exit code says whether anything is unaccounted."""
    age = parse_age(since)
    if age > LEDGER_RETENTION:
        raise UsageError(f"--since {since}: the ledger is kept for {LEDGER_RETENTION.days} days")
    hours = await connections.accounting.per_hour(since=await connections.records.now() - age)
    totals = {name: sum(getattr(hour, name) for hour in hours) for name in COUNTS}
    if connections.telemetry is not None:
        gauge(connections.telemetry.meter, ACCOUNT, lambda: totals)
    if as_json:
        show_json({"since": since, "hours": [_as_dict(hour) for hour in hours], "total": totals})
    else:
        _show(hours, totals, since)
    return BAD_NEWS if any(hour.unaccounted for hour in hours) else OK


def _as_dict(hour: HourlyAccount) -> dict[str, Any]:
    return {"hour": hour.hour, **{name: getattr(hour, name) for name in COUNTS}}


def _show(hours: Sequence[HourlyAccount], totals: dict[str, int], since: str) -> None:
    if not hours:
        say(f"Nothing was accepted for forwarding within {since}.")
        return
    largest = max(hour.accepted for hour in hours)
    rows: list[tuple[Any, ...]] = [
        (f"{hour.hour:%Y-%m-%d %H}:00Z", *(getattr(hour, name) for name in COUNTS), bar(hour.accepted, largest))
        for hour in hours
    ]
    rows.append(("all", *totals.values(), ""))
    show_table(
        ("hour", *(name.replace("_", " ") for name in COUNTS), ""), rows, right=[n.replace("_", " ") for n in COUNTS]
    )
    if any(hour.unaccounted for hour in hours):
        say("UNACCOUNTED: events whose ledger row is missing or in no known state. See deploy/RUNBOOK.md.")
    else:
        say("It adds up: accepted = delivered + pending + dead, in every hour.")
