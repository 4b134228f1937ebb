"""Fault rows of collecting: a worker is killed while it writes dead letters to Spanner (F61)."""

from typing import Final

from tests.faults.lab import NO_FAULT_POINTS, Lab
from tests.faults.row import IN_FLIGHT, Expectations, Row
from tests.faults.rows_statsig import SPOILED, spoiled_names

WORKER: Final = "worker-1"

DIES: Final = {"FAULT_POINTS": "after_collect=exit"}

_OPEN_OF_DEAD: Final = """
SELECT COUNTIF(l.subject IS NULL), COUNT(*), COUNT(DISTINCT f.event_id)
FROM NestEventForward AS f
LEFT JOIN NestEventDeadLetter AS l ON l.subject = f.event_id AND l.open_shard IS NOT NULL
WHERE f.state = 'DEAD'"""


async def killed_while_collecting(lab: Lab) -> None:
    """Killed twice between commit and ack; then each dead event has one open letter."""
    await lab.statsig({"kind": "refuse_event", "name_contains": SPOILED, "status": 400})
    for settings in (*lab.unless_quick(DIES), NO_FAULT_POINTS):
        code = await lab.until_ended(WORKER, 60)
        lab.require(code == 137, f"the worker ended with {code} and not while collecting")
        await lab.restart(WORKER, settings)
    await lab.until_sent(1.0)
    await lab.until_true(lab.settled, "everything settled under the fault", 60)

    async def collected() -> bool:
        async with lab.database.snapshot() as snapshot:
            ((without, letters, dead),) = [row async for row in await snapshot.execute_sql(_OPEN_OF_DEAD)]
        lab.require(letters == dead, f"{letters} open letters of {dead} dead events")
        return bool(dead > 0 and without == 0)

    await lab.until_true(collected, "every dead event has its letter", 90)


COLLECTING_ROWS: Final = (
    Row(
        id="F61",
        title="worker killed after collecting dead letters, before the ack, twice",
        fault=killed_while_collecting,
        settings=DIES,
        event_name=spoiled_names,
        expect=Expectations(dead_letters={"http_400": 20}, drain_seconds=60, duplicates_per_incident=IN_FLIGHT),
    ),
)
