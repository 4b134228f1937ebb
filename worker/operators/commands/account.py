"""`nest-events account` as it is typed."""

from functools import partial
from typing import Annotated

import typer

from worker.operators.options import AsJson


def account(
    *,
    since: Annotated[
        str, typer.Option("--since", help="From when: an age (24h, 7d, up to 90d) or a UTC time (2026-11-24T22:00Z).")
    ] = "24h",
    until: Annotated[str, typer.Option("--until", help="Up to when, likewise; the default is now.")] = "0s",
    as_json: AsJson = False,
) -> None:
    """Check that accepted = delivered + pending + dead, hour by hour. Exit code 1 where an event is unaccounted.

    Counts events that were to be forwarded, at once or later: `forwarded later` is the part of `accepted` that was
    stored only at first. The cost depends on the events of that time, not on the age of the log: an hour of some
    million events takes Spanner some seconds.

    \b
    nest-events account
    nest-events account --since 7d --json
    nest-events account --since 24h --until 1h
    """
    from worker.operators.account import report_account
    from worker.operators.run_command import run_command

    run_command(partial(report_account, since=since, until=until, as_json=as_json))
