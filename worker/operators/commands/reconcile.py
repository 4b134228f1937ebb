"""`nest-events reconcile` as it is typed."""

from functools import partial
from typing import Annotated

import typer

from worker.operators.options import AsJson


def reconcile(
    *,
    now: Annotated[bool, typer.Option("--now", help="Everything that is pending, however short.")] = False,
    older_than: Annotated[str | None, typer.Option("--older-than", help="Pending for so long, such as 5m.")] = None,
    rate: Annotated[float, typer.Option(min=1, max=10_000, help="Events a second.")] = 200.0,
    as_json: AsJson = False,
) -> None:
    """Publish again what is pending and in no worker's hands. Safe at any time.

    An event is sent once all the same. Says how many, also when it is interrupted; while circuits are open it helps
    nobody.

    What was published again a moment ago is so once more, and the workers' own times for it begin anew. What failed
    alone and waits for its next try is left alone.

    \b
    nest-events reconcile --now
    nest-events reconcile --older-than 5m
    """
    from worker.operators.reconcile import publish_again
    from worker.operators.run_command import run_command

    run_command(partial(publish_again, now=now, older_than=older_than, rate=rate, as_json=as_json))
