"""`nest-events watch` as it is typed."""

from functools import partial
from typing import Annotated

import typer

from worker.operators.options import AsJson


def watch(
    *,
    interval: Annotated[float, typer.Option(min=1, max=3600, help="Seconds between two looks.")] = 5.0,
    window: Annotated[str, typer.Option(help="What 'lately' means, such as 5m.")] = "5m",
    once: Annotated[bool, typer.Option("--once", help="One look, then end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Rates in and out, workers, what is pending and why, dead letters, last errors. Ctrl-C ends it.

    Reads both tables whole with every look: raise --interval where they are large.

    \b
    nest-events watch
    nest-events watch --once --json
    """
    from worker.operators.running import run_command
    from worker.operators.watch import watch_events

    run_command(partial(watch_events, interval=interval, window=window, once=once, as_json=as_json))
