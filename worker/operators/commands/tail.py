"""`nest-events tail` as it is typed."""

from functools import partial
from typing import Annotated, Literal

import typer

from worker.operators.options import AsJson


def tail(
    *,
    event_name: Annotated[str | None, typer.Option("--event-name", help="Only events of this name.")] = None,
    name_prefix: Annotated[str | None, typer.Option("--name-prefix", help="Only events whose name begins so.")] = None,
    caller: Annotated[str | None, typer.Option("--caller", help="Only events of this caller's e-mail.")] = None,
    state: Annotated[
        Literal["dead", "pending", "delivered"] | None,
        typer.Option("--state", help="Show events when they get this state, not when they are accepted."),
    ] = None,
    interval: Annotated[float, typer.Option(min=1, max=60, help="Seconds between two looks.")] = 2.0,
    as_json: AsJson = False,
) -> None:
    """Show events as they are accepted, or as they get a state, until Ctrl-C.

    The state is the one at the end of each look. With --state pending, an event that was sent before the look ended is
    not shown. With --state delivered, events accepted within the last minute or later are watched, up to 10,000 at
    once; a replay of an older event is not shown.

    A look shows up to 200 events, the latest, and says how many more there were. It reads what came since the last look
    and nothing else, by indexes. Where Spanner is away it says so once, and goes on when it is back. With --json each
    line is an object: an event, or a "notice" of what was left out. Without --json notices go to stderr.

    \b
    nest-events tail
    nest-events tail --event-name order_paid --state delivered
    nest-events tail --state dead --json
    """
    from shared.events.forward_ledger import ForwardState
    from worker.operators.events.tail_events import TailChoice
    from worker.operators.events.tail_lines import tail_events
    from worker.operators.run_command import run_command

    choice = TailChoice(
        event_name=event_name,
        name_prefix=name_prefix,
        caller=caller,
        state=None if state is None else ForwardState(state.upper()),
    )
    run_command(partial(tail_events, choice=choice, interval=interval, as_json=as_json))
