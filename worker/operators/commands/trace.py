"""`nest-events trace` as it is typed. The function is long because each option is a parameter."""

from functools import partial
from typing import Annotated

import typer

from worker.operators.options import AsJson


def trace(
    event_ids: Annotated[list[str] | None, typer.Argument(metavar="EVENT_ID", help="One or several.")] = None,
    *,
    key: Annotated[str | None, typer.Option("--key", help="Find the event by its idempotency key instead.")] = None,
    identity: Annotated[
        str, typer.Option("--identity", help="With --key: its caller's subject, or e-mail where there is no subject.")
    ] = "",
    event_name: Annotated[str | None, typer.Option("--event-name", help="Search for events of this name.")] = None,
    actor: Annotated[str | None, typer.Option("--actor", help="Search for events of this actor_id.")] = None,
    caller: Annotated[str | None, typer.Option("--caller", help="Search for events of this caller's e-mail.")] = None,
    request_id: Annotated[
        str | None, typer.Option("--request-id", help="Search for the events of one call, by its x-request-id.")
    ] = None,
    since: Annotated[str, typer.Option("--since", help="Search from: an age such as 24h, or a UTC time.")] = "24h",
    until: Annotated[str, typer.Option("--until", help="Search up to: an age, or a UTC time.")] = "0s",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The most events that a search lists.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Show where an event is, how it got there, and what to do. Exit code 1 where an event is not found.

    A search lists the latest events first. Its cost depends on the events of the time that it covers.

    \b
    nest-events trace 6cf56cc8-4ae1-4405-bc63-97157a1b5c23
    nest-events trace --key order-17-paid --identity 104893205
    nest-events trace --actor user-17 --since 2h
    nest-events trace --event-name order_paid --since 2026-11-24T22:00Z --until 2026-11-24T23:00Z
    """
    from worker.operators.events.finding import TraceQuery
    from worker.operators.events.trace import trace_events
    from worker.operators.run_command import run_command

    query = TraceQuery(
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
    run_command(partial(trace_events, query=query, as_json=as_json))
