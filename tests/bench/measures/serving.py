"""Shared by the measures of servers: all are started, then each is measured in turn while the others idle."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from tests.bench.bench import Bench, Figures, words
from tests.bench.bodies import LOG_EVENT
from tests.bench.errors import MeasurementError
from tests.bench.load import warm_up
from tests.bench.options import Options
from tests.bench.results import Key
from tests.bench.ways import INLINE, Way
from tests.bench.world import Server, World


class Servers:
    """The running servers by name. One that did not start fails only its own measurements."""

    def __init__(self) -> None:
        self._running: dict[str, Server] = {}
        self._failed: dict[str, str] = {}

    async def start(
        self,
        world: World,
        way: Way,
        body: Path,
        *,
        path: str = LOG_EVENT,
        settings: Mapping[str, str] | None = None,
        name: str | None = None,
    ) -> None:
        """Start a server, and warm it up with `body`."""
        try:
            stand_in = await world.play_statsig() if way is INLINE else None
            server = await world.serve(way, settings, name=name, stand_in=stand_in)
            await warm_up(server, path, body)
        except Exception as error:  # noqa: BLE001 - raised again when the server is asked for
            self._failed[name or way.name] = words(error)
        else:
            self._running[server.way] = server

    def __getitem__(self, name: str) -> Server:
        """The server of that name.

        Raises:
            MeasurementError: it did not start.
        """
        if name in self._failed:
            raise MeasurementError(f"it did not start: {self._failed[name]}")
        return self._running[name]


async def in_turns(
    bench: Bench,
    measure: str,
    *,
    cases: Iterable[str],
    ways: Iterable[str],
    measuring: Callable[[str, str], Awaitable[Figures]],
) -> None:
    """Takes a sample of each way in each case, in rounds, so that drifts of the machine affect all alike."""
    keys = [Key(measure, case, way) for case in cases for way in ways]
    for turn in range(bench.options.rounds):
        for key in keys:
            await bench.attempt(key, turn, partial(measuring, key.case, key.way))


def wanted(ways: Iterable[Way], options: Options) -> list[Way]:
    return [way for way in ways if options.wants(way.name)]
