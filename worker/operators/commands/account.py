"""`nest-events account` as it is typed."""

from functools import partial
from typing import Annotated

import typer

from worker.operators.options import AsJson


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
    from worker.operators.account import report_account
    from worker.operators.running import run_command

    run_command(partial(report_account, since=since, as_json=as_json))
