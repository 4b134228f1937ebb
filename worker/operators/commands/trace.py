"""`nest-events trace` as it is typed."""

from functools import partial
from typing import Annotated

import typer

from worker.operators.options import AsJson


def trace(
    event_ids: Annotated[list[str] | None, typer.Argument(metavar="EVENT_ID", help="One or several.")] = None,
    *,
    key: Annotated[str | None, typer.Option("--key", help="The event of this idempotency key instead.")] = None,
    identity: Annotated[
        str, typer.Option("--identity", help="With --key: whose, the caller's subject, or e-mail where it has none.")
    ] = "",
    event_name: Annotated[str | None, typer.Option("--event-name", help="Events of this name.")] = None,
    actor: Annotated[str | None, typer.Option("--actor", help="Events of this actor_id.")] = None,
    caller: Annotated[str | None, typer.Option("--caller", help="Events that this caller logged, an e-mail.")] = None,
    request_id: Annotated[
        str | None, typer.Option("--request-id", help="Events of this call, as it was answered in x-request-id.")
    ] = None,
    since: Annotated[str, typer.Option("--since", help="Logged since: an age such as 24h, or a time in UTC.")] = "24h",
    until: Annotated[str, typer.Option("--until", help="Logged until: an age, or a time in UTC.")] = "0s",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Of a search: no more than so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Where an event is, how it got there, and what to do. Exit code 1 where nothing is found.

    A search costs by the events of the time that it looks at, and lists the latest first.

    \b
    nest-events trace 6cf56cc8-4ae1-4405-bc63-97157a1b5c23
    nest-events trace --key order-17-paid --identity 104893205
    nest-events trace --actor user-17 --since 2h
    nest-events trace --event-name order_paid --since 2026-11-24T22:00Z --until 2026-11-24T23:00Z
    """
    from worker.operators.events.trace import Asked, trace_events
    from worker.operators.run_command import run_command

    asked = Asked(
        event_ids=tuple(event_ids or ()),
        key=key,
        identity=identity,
        event_name=event_name,
        actor=actor,
        caller=caller,
        request_id=request_id,
        since=since,
        until=until,
        limit=limit,
    )
    run_command(partial(trace_events, asked=asked, as_json=as_json))
