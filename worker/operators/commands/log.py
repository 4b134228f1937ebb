"""`nest-events log` as it is typed."""

from functools import partial
from typing import Annotated

import typer

from worker.operators.options import AsJson


def log(
    *,
    url: Annotated[str, typer.Option(envvar="INGRESS_URL", help="Address of the ingress.")] = "http://127.0.0.1:8080",
    event_name: Annotated[str, typer.Option(help="The event's name, as Statsig shows it.")] = "nest_events_test",
    wait: Annotated[float, typer.Option(min=0, max=3600, help="How many seconds to follow the event.")] = 60.0,
    id_token: Annotated[
        str | None, typer.Option(envvar="ID_TOKEN", help="For Cloud Run: from gcloud auth print-identity-token.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Log a real event, which Statsig bills like any other, and follow it until it is settled.

    Exit code 1 where it is not delivered in that time; the answer then says what to do.

    \b
    nest-events log
    ID_TOKEN=$(gcloud auth print-identity-token) nest-events log --url https://ingress-abc.a.run.app
    """
    from worker.operators.events.logged_event import log_test_event
    from worker.operators.run_command import run_command

    run_command(partial(log_test_event, url=url, event_name=event_name, wait=wait, id_token=id_token, as_json=as_json))
