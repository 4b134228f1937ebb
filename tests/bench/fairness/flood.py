"""`python -m tests.bench.fairness.flood LOAD PORT SECONDS NICENESS`: runs a load, prints its counts as JSON."""

import argparse
import asyncio
import json
import os
import resource
from collections import Counter
from typing import Final

import uvloop

from tests.bench.fairness.callers import FLOOD
from tests.bench.fairness.loads import LOADS, FloodLoad, Manner
from tests.support.wire.http1 import Connection, request

PIPELINED: Final = 50
"""Requests on a connection without reading: their answers exceed every buffer."""

PAUSE_SECONDS: Final = 0.05
"""The pause between two attempts to connect, where the server refuses or closes."""


class Flood:
    def __init__(self, load: FloodLoad, port: int) -> None:
        self._load = load
        self._port = port
        # Each part is built once: copies of megabytes for every connection would keep this process, and a core, busy.
        self._request = request(load.body(), {**FLOOD, **load.headers}, path=load.path)
        self._all_but_the_end = self._request[:-1]
        self.seen: Counter[str] = Counter()
        """Counts of answers by status, and of connections that the server closed."""

    async def run(self, seconds: float) -> None:
        async with asyncio.TaskGroup() as tasks:
            connections = [tasks.create_task(self._connection()) for _ in range(self._load.connections)]
            await asyncio.sleep(seconds)
            for each in connections:
                each.cancel()

    async def _connection(self) -> None:
        while True:
            try:
                connection = await Connection.open(self._port)
                await self._use(connection)
            except (OSError, EOFError, TimeoutError) as error:
                self.seen[type(error).__name__] += 1
            await asyncio.sleep(PAUSE_SECONDS)

    async def _use(self, connection: Connection) -> None:
        try:
            match self._load.manner:
                case Manner.CALLING:
                    while True:
                        await connection.send(self._request)
                        self.seen[str((await connection.answer()).status)] += 1
                case Manner.HALF_OPEN:
                    await _send_and_hold(connection, self._request[:40])
                case Manner.STALLED:
                    await _send_and_hold(connection, self._all_but_the_end)
                case Manner.UNREAD:
                    for _ in range(PIPELINED):
                        await connection.send(self._request)
                    await asyncio.Event().wait()
        finally:
            connection._writer.transport.abort()


async def _send_and_hold(connection: Connection, part: bytes) -> None:
    """Sends, and waits until the server closes or answers."""
    await connection.send(part)
    while True:
        try:
            await connection.is_closed()
        except TimeoutError:
            continue
        raise ConnectionResetError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("load")
    parser.add_argument("port", type=int)
    parser.add_argument("seconds", type=float)
    parser.add_argument("niceness", type=int)
    chosen = parser.parse_args()
    load = next(each for each in LOADS if each.name == chosen.load)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    os.nice(chosen.niceness)
    flood = Flood(load, chosen.port)
    uvloop.run(flood.run(chosen.seconds))
    print(json.dumps(flood.seen), flush=True)  # noqa: T201 - the program's answer


if __name__ == "__main__":
    main()
