"""The measures that bench-growth repeats with growing tables."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from deploy.local.provision import StackNames
from tests.bench.bench import Bench, Figures
from tests.bench.bodies import LOG_EVENT, usual_event, written
from tests.bench.drain import drain
from tests.bench.growth.ledger import Operations, opened_operations
from tests.bench.growth.rows import Tables
from tests.bench.load import load, warm_up
from tests.bench.results import Key
from tests.bench.ways import THIS, THIS_WORKER
from tests.bench.world import World, open_world

CALLS: Final = "calls"
DRAIN: Final = "drain"
CLAIM: Final = "claim of 500"
SETTLE: Final = "settle of 500"
PAGE: Final = "reconciler page"

MEASURES: Final = (CLAIM, SETTLE, PAGE, DRAIN, CALLS)
"""In the order in which they run: those that add fewest rows first."""

CONNECTIONS: Final = 32


def key(measure: str, rows: int) -> Key:
    return Key(measure, f"{rows:,} rows", THIS.name)


async def grow(bench: Bench, stages: Sequence[int]) -> Tables:
    """Measure with each number of rows, as far as the memory's bound allows. Returns the tables."""
    names = StackNames.unique("growth")
    run_dir = bench.run_dir / "tables"
    async with open_world(bench.emulators, run_dir, keeps_messages=False, names=names) as world:
        tables = Tables(world.environment)
        async with opened_operations(world.environment) as operations:
            for rows in stages:
                if not await tables.fill(rows, bench.display):
                    break
                await _Stage(bench, world, operations, rows).run()
        return tables


@dataclass(frozen=True, slots=True)
class _Stage:
    bench: Bench
    world: World
    operations: Operations
    rows: int

    async def run(self) -> None:
        measuring: dict[str, Callable[[], Awaitable[Figures]]] = {
            CLAIM: self.operations.claim,
            SETTLE: self.operations.settle,
            PAGE: self.operations.reconcile,
            DRAIN: self._drain,
            CALLS: self._calls,
        }
        for measure in MEASURES:
            for turn in range(self.bench.options.rounds):
                await self.bench.attempt(key(measure, self.rows), turn, measuring[measure])

    async def _drain(self) -> Figures:
        """With new topics: earlier ones may have messages that the last worker left."""
        fresh = StackNames.unique("growth")
        names = replace(
            self.world.names,
            forward_topic=fresh.forward_topic,
            forward_subscription=fresh.forward_subscription,
            dead_letter_topic=fresh.dead_letter_topic,
            dead_letter_subscription=fresh.dead_letter_subscription,
        )
        run_dir = self.bench.run_dir / fresh.forward_topic
        async with open_world(self.bench.emulators, run_dir, keeps_messages=True, names=names) as world:
            return await drain(world, THIS_WORKER, self.bench.options.backlog)

    async def _calls(self) -> Figures:
        """With a new process: one that has served a million calls may differ in more than its tables."""
        body = written(self.world.run_dir, "event", usual_event())
        server = await self.world.serve(THIS)
        await warm_up(server, LOG_EVENT, body)
        try:
            seconds = self.bench.options.seconds
            return await load(server, LOG_EVENT, body, connections=CONNECTIONS, seconds=seconds)
        finally:
            await server.process.terminate()
