"""`nest-events forward` as it is typed. The function is long because each option is a parameter."""

from functools import partial
from typing import Annotated

import typer

from worker.operators.options import AsJson, Yes


def forward(
    *,
    since: Annotated[str, typer.Option("--from", help="From when: an age (24h, 7d) or a UTC time; up to 90 days ago.")],
    until: Annotated[str, typer.Option("--to", help="Up to when, likewise; 0s is now.")],
    event_name: Annotated[str | None, typer.Option("--event-name", help="Only events of this name.")] = None,
    name_prefix: Annotated[str | None, typer.Option("--name-prefix", help="Only events whose name begins so.")] = None,
    event_type: Annotated[str | None, typer.Option("--event-type", help="Only events of this type.")] = None,
    caller: Annotated[str | None, typer.Option("--caller", help="Only events of this caller's e-mail.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Forward at most this many events.")] = None,
    rate: Annotated[float, typer.Option(min=0.1, max=10_000, help="Events per second.")] = 20.0,
    why: Annotated[str | None, typer.Option("--why", help="The reason, for the audit trail; --yes needs it.")] = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Forward events to Statsig that were stored only. Without --yes it is a dry run, which only counts.

    Takes events that were accepted within that time and were not to be forwarded, by their caller's choice or by a
    rule. It passes over events that it has forwarded before, and names that Statsig drops. A rule that stores events
    only does not stop it.

    Never makes a worker send an event twice. It may be interrupted at any time and run again, and two operators may run
    it at once. The cost depends on the events of that time.

    \b
    nest-events forward --from 2026-11-24T22:00Z --to 2026-11-24T23:00Z
    nest-events forward --from 24h --to 2h --event-name order_paid
    nest-events forward --from 24h --to 2h --event-name order_paid --limit 10 --why "a rule was too wide" --yes
    nest-events forward --from 24h --to 2h --event-name order_paid --rate 50 --why "a rule was too wide" --yes
    """
    from worker.operators.forward import ForwardOptions, forward_events
    from worker.operators.run_command import run_command

    options = ForwardOptions(
        since=since,
        until=until,
        event_name=event_name,
        name_prefix=name_prefix,
        event_type=event_type,
        caller=caller,
        limit=limit,
        rate=rate,
        why=why,
    )
    run_command(partial(forward_events, options=options, yes=yes, as_json=as_json))
