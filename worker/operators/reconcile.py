"""`nest-events reconcile`: publish again what stayed pending, now and not with the worker's next round."""

from typing import Any, Final

from google.cloud.spanner_v1 import param_types

from shared.accounting import SCAN_SECONDS
from shared.forward_ledger import LEDGER_TABLE
from shared.spanner import translated
from worker.dead_letters import DeadLetters
from worker.operators.audit import note_action
from worker.operators.connections import Connections
from worker.operators.durations import parse_age
from worker.operators.exits import OK, UsageError
from worker.operators.progress import advancing
from worker.operators.terminal import say, show_json
from worker.reconciler import Reconciler

FIRST_INTERVAL_SECONDS: Final = 60.0
"""Before a worker publishes once more what was published here: as the worker itself waits, where it is not set to
something else."""

# Of the index alone, and of no more of it than is about to be published. The hint names the emulator, as in
# shared/spanner_republishing.py.
_PENDING: Final = f"""
@{{spanner_emulator.disable_query_null_filtered_index_check=true}}
SELECT COUNT(*) FROM {LEDGER_TABLE}@{{FORCE_INDEX=NestEventForwardPending}}
WHERE forward_shard >= 0 AND pending_since <= TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL @age MICROSECOND)"""  # noqa: S608 - a constant


async def publish_again(
    connections: Connections,
    *,
    now: bool,
    older_than: str | None,
    rate: float,
    as_json: bool,
) -> int:
    """Everything that is pending, or what has been so for `older_than`: one of the two is asked for."""
    if now == (older_than is not None):
        raise UsageError("give either --now or --older-than")
    after_seconds = 0.0 if older_than is None else parse_age(older_than).total_seconds()
    pending = await _pending(connections.database, after_seconds)
    note_action("reconcile", choice={"older_than": older_than, "rate": rate}, count=pending, dry_run=False)
    with advancing("Publishing again", pending) as advance:
        republished = await Reconciler(
            ledger=connections.ledger,
            republish_ledger=connections.republish_ledger,
            publisher=connections.forward_topic,
            dead_letters=DeadLetters(connections.dead_letter_topic),
            is_resting=lambda: False,
            after_seconds=after_seconds,
            interval_seconds=1.0,
            events_per_second=rate,
            first_interval_seconds=FIRST_INTERVAL_SECONDS,
            force=True,
            on_page=advance,
        ).reconcile()
    if as_json:
        show_json({"pending": pending, "republished": republished})
    else:
        say(f"{pending} events were pending for so long; {republished} of them published again.")
    return OK


async def _pending(database: Any, after_seconds: float) -> int:
    parameters = {"age": int(after_seconds * 1_000_000)}
    async with translated(SCAN_SECONDS), database.snapshot() as snapshot:
        rows = await snapshot.execute_sql(_PENDING, parameters, {"age": param_types.INT64})
        return sum([row[0] async for row in rows])
