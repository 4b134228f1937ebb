"""`nest-events account`: what was accepted, by hour, and what became of it."""

from collections.abc import Sequence
from typing import Annotated, Any, Final

import typer

from shared.accounting import LEDGER_RETENTION, HourlyAccount
from shared.telemetry.metrics import ACCOUNT, gauge
from worker.operators.connections import Connections
from worker.operators.durations import parse_age
from worker.operators.exits import BAD_NEWS, OK, UsageError
from worker.operators.running import run_command
from worker.operators.terminal import AsJson, bar, say, show_json, show_table

COUNTS: Final = ("accepted", "delivered", "pending", "dead", "possible_duplicates", "unaccounted")


def account(
    *,
    since: Annotated[str, typer.Option("--since", help="How far back, such as 24h or 7d; 90d at the most.")] = "24h",
    as_json: AsJson = False,
) -> None:
    """Accepted = delivered + pending + dead, hour by hour. Exit code 1 where anything is unaccounted.

    Counts the events that were to be forwarded. Reads the whole log: seconds to minutes.

    \b
    nest-events account
    nest-events account --since 7d --json
    """

    async def work(connections: Connections) -> int:
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

    run_command(work)


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
