"""`nest-events erase`: delete the events of one actor, and say what lies elsewhere."""

import sys
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import anyio
import typer

from shared.process.settings import OperatorSettings
from worker.operators.audit import audit_entry, note_action, who
from worker.operators.connections import Connections
from worker.operators.erasure.erasing import Erasing, counted
from worker.operators.erasure.receipt import Receipt, hashed, show
from worker.operators.exit_codes import BAD_NEWS, OK, UsageError
from worker.operators.terminal.progress import count_progress

COMMAND: Final = "erase"

ROLE: Final = "eraser"
"""The database role that may delete (deploy/spanner/roles)."""

FROM_STDIN: Final = "-"

_LOOKED_AT: Final = "Events looked at:"


async def erase_actor(connections: Connections, *, actor: str, wait: float, yes: bool, as_json: bool) -> int:
    """Erase the actor's events with `yes`; else only count them. BAD_NEWS where events in flight are left.

    The receipt is printed also where the erasure fails or is interrupted. The audit trail has an entry when it begins
    and one when it ends, with the counts.
    """
    _require_role(connections.settings)
    actor_id = _actor_id(actor)
    before = await connections.records.now()
    receipt = partial(Receipt, dry_run=not yes, actor=hashed(actor_id), before=before, by=who())
    note_action(COMMAND, choice={"actor_sha256": hashed(actor_id)}, count=None, dry_run=not yes)
    if not yes:
        with count_progress(_LOOKED_AT, None) as looked_at:
            counts = await counted(connections.erasure, actor_id, before=before, looked_at=looked_at)
        show(receipt(counts=counts), as_json=as_json)
        return OK
    await _audit(connections, {"step": "begun", "actor_sha256": hashed(actor_id), "ingested_before": before})
    erasing = Erasing(connections.erasure)
    is_done = False
    try:
        with count_progress(_LOOKED_AT, None) as looked_at:
            await erasing.erase(actor_id, before=before, looked_at=looked_at)
        if erasing.in_flight:
            typer.echo(f"Waiting until workers' claims on {len(erasing.in_flight)} events end", err=True)
        await erasing.erase_in_flight(wait_seconds=wait)
        is_done = True
    finally:
        done = receipt(counts=erasing.counts, in_flight=len(erasing.in_flight), ended_early=not is_done)
        try:
            show(done, as_json=as_json)
        finally:
            with anyio.CancelScope(shield=True):  # bounded: one call
                await _audit(connections, {"step": "ended", **done.as_dict()})
    return OK if done.is_complete else BAD_NEWS


def _require_role(settings: OperatorSettings) -> None:
    if settings.spanner_database_role not in {None, ROLE}:
        raise UsageError(f"only the database role {ROLE} may delete: set SPANNER_DATABASE_ROLE={ROLE}")


def _actor_id(typed: str) -> str:
    actor_id = sys.stdin.readline().rstrip("\n") if typed == FROM_STDIN else typed
    if not actor_id:
        raise UsageError("--actor must not be empty")
    return actor_id


async def _audit(connections: Connections, detail: Mapping[str, Any]) -> None:
    await connections.audit_trail.write(audit_entry(COMMAND, why=None, detail=detail))
