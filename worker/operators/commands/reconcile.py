"""`nest-events reconcile` as it is typed."""

from functools import partial
from typing import Annotated

import typer

from worker.operators.options import AsJson


def reconcile(
    *,
    now: Annotated[bool, typer.Option("--now", help="Every pending event, the latest included.")] = False,
    older_than: Annotated[
        str | None, typer.Option("--older-than", help="Events that have been pending for this age, such as 5m.")
    ] = None,
    rate: Annotated[float, typer.Option(min=1, max=10_000, help="Events per second.")] = 200.0,
    as_json: AsJson = False,
) -> None:
    """Publish pending events again, except those in flight or set aside. Safe at any time.

    An event that is published twice is still sent once. It does not help while circuits are open: it only adds
    messages.

    Includes events that were published again a moment ago. A worker publishes the same events again a minute later at
    the earliest. Prints how many were published, also where it is interrupted.

    \b
    nest-events reconcile --now
    nest-events reconcile --older-than 5m
    """
    from worker.operators.reconcile import publish_again
    from worker.operators.run_command import run_command

    run_command(partial(publish_again, now=now, older_than=older_than, rate=rate, as_json=as_json))
