"""How the rests of bodies are discarded after early answers: so many at a time, and at one rate for all of them."""

import asyncio
from itertools import count
from typing import Final

from ingress.spreading import spread

STEP_BYTES: Final = 64 * 1024
"""Discarded in one step."""

STEP_SECONDS: Final = 0.002
"""The time for each step, of all connections together: 32 MiB a second. It takes a twentieth of the event loop's time,
and a lone client that sends 4 MiB before it reads its answer waits for an eighth of a second."""

MAX_DISCARDED: Final = 64
"""Bodies that are discarded at the same time: as many as Cloud Run sends calls at once. With 4 MiB each they take 8 s,
of the 10 s that a body has; with 16 at half the rate half of 64 such clients got no answer. The server holds up to a
MiB of each meanwhile (h2corn 2.0, whatever its settings): with two hundred at once a process grew by 130 MiB."""

MAX_WAITING: Final = 1024
"""Answers that wait for room; further ones do not. The server held 270 MiB for 800 of them; with a MiB each it would be
half of an instance's 2 GiB. With room for 256, the clients of 800 connections came back at once: reading what they sent
took the server's thread, and each call of another caller a second."""

WAIT_SECONDS: Final = 5.0
"""How long an answer waits for room at the most, and at the least half of it. A client that calls again at once, and is
refused each time, does so once in that time and not a thousand times. Each of its connections costs other calls a head,
and the copying of what it has sent."""


class Discarding:
    """The bodies of all connections. For the event loop's thread."""

    def __init__(self) -> None:
        self._room = asyncio.Semaphore(MAX_DISCARDED)
        self._waiting = 0
        self._waits = count()
        self._free_at = 0.0

    async def begin(self, *, waits: bool = True) -> bool:
        """Whether one more body may be discarded, after up to WAIT_SECONDS. If so, call `end` afterwards."""
        if not self._room.locked():
            return await self._room.acquire()
        if not waits or self._waiting >= MAX_WAITING:
            return False
        self._waiting += 1
        try:
            async with asyncio.timeout(spread(WAIT_SECONDS, next(self._waits))):
                return await self._room.acquire()
        except TimeoutError:
            return False
        finally:
            self._waiting -= 1

    def end(self) -> None:
        self._room.release()

    async def next_step(self) -> None:
        """Wait until the next STEP_BYTES may be discarded."""
        now = asyncio.get_running_loop().time()
        begins_at = max(now, self._free_at)
        self._free_at = begins_at + STEP_SECONDS
        await asyncio.sleep(begins_at - now)
