"""Dead letters together with what Spanner knows of their events."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from worker.operators.connections import Connections
from worker.operators.letters import Casualty, by_subject
from worker.operators.progress import counting
from worker.operators.reading import Held, held_letters
from worker.operators.records import Record


@dataclass(frozen=True, slots=True)
class Gathered:
    held: Held
    casualties: list[Casualty]
    """Those that died first coming first."""

    records: Mapping[str, Record]
    now: datetime

    def record(self, casualty: Casualty) -> Record | None:
        return self.records.get(casualty.latest.event_id or "")


@asynccontextmanager
async def gathered(connections: Connections) -> AsyncIterator[Gathered]:
    """All dead letters that nobody else holds, held until the end.

    Raises:
        SubscriptionUnavailableError, StorageUnavailableError: no answer.
    """
    with counting("Reading dead letters") as progress:
        async with held_letters(connections.dead_letters, progress) as held:
            casualties = by_subject(held.letters.values())
            records = await connections.records.of(each.latest.event_id or "" for each in casualties)
            progress(len(held.letters))
            now = datetime.now(UTC)
            yield Gathered(held, casualties, records, now)


async def explain_none(connections: Connections) -> str:
    """One line for a subscription on which nothing was found."""
    if await connections.ledger.dead(limit=1):
        return (
            "No dead letters found, yet the ledger has dead events. Another command may hold their dead letters (a "
            "killed one for 10 s); where they have expired, replay with --from-rows."
        )
    return "No dead letters."
