"""`nest-events console` as it is typed."""

from functools import partial
from typing import Annotated

import typer

from worker.operators.options import AsJson


def console(
    *,
    port: Annotated[int, typer.Option("--port", min=0, max=65_535, help="The port; 0 is any free one.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Look at everything in a browser on this machine: verdict, account, dead letters, events, replay. Ctrl-C ends it.

    Prints the address, which holds a key: without it there is no answer. Nothing but this machine reaches it, and it
    asks nothing of the internet. Pages ask what the commands ask, and change nothing before a confirmation.

    A replay that was confirmed goes on when its page is closed, and stops when the console ends.

    \b
    nest-events console
    nest-events console --port 8090
    """
    from worker.operators.console.serving import serve_console
    from worker.operators.run_command import run_command

    run_command(partial(serve_console, port=port, as_json=as_json))
