"""`nest-events trace` as it is typed."""

from functools import partial
from typing import Annotated

import typer

from worker.operators.options import AsJson


def trace(
    event_id: Annotated[str | None, typer.Argument(metavar="[EVENT_ID]")] = None,
    *,
    actor: Annotated[str | None, typer.Option("--actor", help="All events of this actor_id instead.")] = None,
    since: Annotated[str, typer.Option("--since", help="With --actor: how far back, such as 24h or 7d.")] = "24h",
    until: Annotated[str, typer.Option("--until", help="With --actor: up to how long ago, such as 2h.")] = "0s",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="With --actor: no more than so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Where an event is, how it got there, and what to do. Exit code 1 for an unknown id.

    \b
    nest-events trace 6cf56cc8-4ae1-4405-bc63-97157a1b5c23
    nest-events trace --actor user-17 --since 2h
    nest-events trace --actor user-17 --since 7d --until 6d
    """
    from worker.operators.running import run_command
    from worker.operators.trace import trace_events

    run_command(
        partial(trace_events, event_id=event_id, actor=actor, since=since, until=until, limit=limit, as_json=as_json)
    )
