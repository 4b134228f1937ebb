"""What the stand-in received: from its statistics while it runs, and from its logs afterwards."""

import json
from collections.abc import Callable
from typing import Any, Final

import anyio
import pyqwest

from deploy.local.processes import ManagedProcess
from deploy.local.statsig_stand_in import read_requests
from tests.bench.errors import MeasurementError
from tests.bench.world import StandIn

POLL_SECONDS: Final = 0.02
"""The interval of polls. One costs the stand-in a fraction of a millisecond."""


class StatsigWatch:
    """Polls a stand-in."""

    def __init__(self, stand_in: StandIn) -> None:
        self._url = f"{stand_in.url}/stats"
        self._client = pyqwest.Client()

    async def stats(self) -> dict[str, Any]:
        response = await self._client.get(self._url)
        stats: dict[str, Any] = json.loads(response.content)
        return stats

    async def until(
        self, condition: Callable[[dict[str, Any]], bool], *, sender: ManagedProcess, seconds: float
    ) -> dict[str, Any]:
        """Waits until the condition holds for the statistics, and returns them.

        Raises:
            MeasurementError: it did not hold in time, or the sender ended.
        """
        stats: dict[str, Any] = {}
        with anyio.move_on_after(seconds):
            while sender.returncode is None:
                stats = await self.stats()
                if condition(stats):
                    return stats
                await anyio.sleep(POLL_SECONDS)
        ended = f"{sender.name} ended with {sender.returncode}" if sender.returncode is not None else "time is up"
        raise MeasurementError(f"{ended}; Statsig has {stats.get('distinct', 0)} events")


def confirmations(stand_in: StandIn) -> dict[str, float]:
    """When each event was first kept, in Unix time: just before its request was answered."""
    kept: dict[str, float] = {}
    for request in read_requests(stand_in.log):
        if request.kept:
            for event_id in request.event_ids:
                kept.setdefault(event_id, request.at)
    return kept


def kept_per_second(stand_in: StandIn) -> float:
    """Events a second from the end of the first request to that of the last, without the first one's events.

    Raises:
        MeasurementError: there were fewer than two requests.
    """
    kept = [(request.at, len(request.event_ids)) for request in read_requests(stand_in.log) if request.kept]
    if len(kept) < 2:
        raise MeasurementError("too few requests to say how fast they came: give it a longer backlog")
    return sum(events for _, events in kept[1:]) / (kept[-1][0] - kept[0][0])
