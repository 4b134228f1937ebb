"""`nest-events erase` as it is typed."""

from functools import partial
from typing import Annotated

import typer

from worker.operators.options import AsJson, Yes


def erase(
    *,
    actor: Annotated[
        str, typer.Option("--actor", metavar="ID", help="The actor_id, exactly; - reads it from a line of stdin.")
    ],
    wait: Annotated[
        float,
        typer.Option(min=0, max=7200, help="Seconds to wait for events in flight; longer than workers' CLAIM_SECONDS."),
    ] = 300.0,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Delete all events of an actor: rows, delivery state, dead letters. A dry run without --yes.

    Reads the whole log by its index on time, at low priority: a hundred million events take some minutes. Events that
    are ingested after it began are left.

    Messages that are still in a topic are acked by the workers and never sent. An event in flight is erased when its
    worker's claim has ended, a minute or two later; the attempt that has begun may still reach Statsig. Exit code 1
    where such events are left after --wait. It may be interrupted at any time and run again.

    The receipt says what lies elsewhere, at Statsig and in BigQuery, and what to do there. It has a hash of the actor's
    id, as have the audit trail and the log. A dead letter whose event has no row is not found, since only its payload
    names an actor. A caller who logs an event again under the same idempotency key logs it anew.

    Only the database role eraser may delete: set SPANNER_DATABASE_ROLE=eraser where database roles are in use.

    \b
    nest-events erase --actor user-17
    nest-events erase --actor user-17 --yes
    nest-events erase --actor - --yes --json < actor.txt
    """
    from worker.operators.erasure.erase import erase_actor
    from worker.operators.run_command import run_command

    run_command(partial(erase_actor, actor=actor, wait=wait, yes=yes, as_json=as_json))
