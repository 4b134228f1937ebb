"""`drain`: a backlog forwarded by one worker. Rate and CPU time are for an event, claim and settle included."""

from functools import partial
from typing import Final

from tests.bench.bench import Bench, Figures, Measure
from tests.bench.drain import drain
from tests.bench.measures.serving import wanted
from tests.bench.options import Options
from tests.bench.results import Key
from tests.bench.ways import THIS_WORKER, WORKERS, Way

NAME: Final = "drain"
CASE: Final = "from a backlog"

TEXTBOOK_SHARE: Final = 10
"""The textbook's worker gets a tenth of the backlog, and takes about as long."""


async def _run(bench: Bench) -> None:
    async def measured(way: Way) -> Figures:
        async with bench.world(NAME, keeps_messages=True) as world:
            return await drain(world, way, _events(way, bench.options))

    for turn in range(bench.options.rounds):
        for way in wanted(WORKERS, bench.options):
            await bench.attempt(Key(NAME, CASE, way.name), turn, partial(measured, way))


def _events(way: Way, options: Options) -> int:
    return options.backlog if way is THIS_WORKER else max(1, options.backlog // TEXTBOOK_SHARE)


def _steps(options: Options) -> int:
    return options.rounds * len(wanted(WORKERS, options))


DRAIN: Final = Measure(name=NAME, unit="event", steps=_steps, run=_run)
