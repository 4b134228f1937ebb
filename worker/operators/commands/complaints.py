"""`nest-events warnings` as it is typed."""

from functools import partial
from typing import Annotated

import typer

from shared.events.complaints import ComplaintKind
from worker.operators.options import AsJson


def list_warnings(
    *,
    since: Annotated[
        str, typer.Option("--since", help="From when: an age (24h, up to 7d) or a UTC time; its whole hour counts.")
    ] = "24h",
    caller: Annotated[str | None, typer.Option("--caller", help="Those of this caller; '(none)' is no caller.")] = None,
    event_name: Annotated[
        str | None, typer.Option("--event-name", help="Those of this name; '(none)' is no name.")
    ] = None,
    kind: Annotated[ComplaintKind | None, typer.Option("--kind", help="Those of this kind alone.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="How many lines to list.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List whose events were refused, or logged with a warning, by event name and reason, and what to mend.

    A warning: the event is logged, and Statsig keeps only a part of it, or drops it. A refusal: it is not logged.

    Ingresses write these counts every 10 s. The cost depends on that time and the number of ingresses, not on the
    events.

    \b
    nest-events warnings
    nest-events warnings --since 7d --caller checkout@example.com
    nest-events warnings --kind refusal --event-name order_paid --json
    """
    from worker.operators.complaints.listing import report_complaints
    from worker.operators.run_command import run_command

    work = partial(report_complaints, since=since, kind=kind, caller=caller, event_name=event_name)
    run_command(partial(work, limit=limit, as_json=as_json))
