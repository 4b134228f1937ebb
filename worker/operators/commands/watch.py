"""`nest-events watch` as it is typed."""

from functools import partial
from typing import Annotated

import typer

from worker.operators.options import AsJson


def watch(
    *,
    interval: Annotated[float, typer.Option(min=1, max=3600, help="Seconds between two screens.")] = 5.0,
    once: Annotated[bool, typer.Option("--once", help="Show one screen, as `nest-events status` does.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the screen of `nest-events status` again and again. Ctrl-C ends it and leaves the last screen.

    \b
    nest-events watch
    nest-events watch --interval 2
    nest-events watch --once --json
    """
    from worker.operators.run_command import run_command
    from worker.operators.state.watch import watch_events

    run_command(partial(watch_events, interval=interval, once=once, as_json=as_json))
