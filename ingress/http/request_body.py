"""The body of one request: received within its time, or discarded when the answer does not need the rest of it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final

from ingress.http.refusals import Message, Send
from shared.errors import RequestReadTimeoutError

Receive = Callable[[], Awaitable[Message]]

PAUSE_SECONDS: Final = 0.25
"""How long an early answer waits for the rest of a small body, and how long discarding waits for more of a large
one."""

READ_PAST_BYTES: Final = 64 * 1024
"""A rest of up to so many bytes is read before an early answer, and the connection is kept. With a larger rest the
connection is closed, and the rest is discarded slowly."""

DISCARD_SECONDS: Final = 0.002
"""The time for each 64 KiB that are discarded, of all connections together: 32 MiB a second. It takes a twentieth of
the event loop's time, and a lone client that sends 4 MiB before it reads its answer waits for an eighth of a second."""

CLOSE: Final = (b"connection", b"close")


def declared_length(headers: Iterable[tuple[bytes, bytes]]) -> int | None:
    """The body's `content-length`, which the server has checked and enforces; None if there is none."""
    for name, value in headers:
        if name == b"content-length":
            return int(value)
    return None


MAX_DISCARDED: Final = 64
"""Bodies that are slowly discarded at the same time; further ones are left to the server. It holds a third of a MiB of
each meanwhile (h2corn 2.0, whatever its settings): with two hundred at once a process grew by 130 MiB."""


class Discarding:
    """The rate at which bodies of all connections are discarded, and how many are at once."""

    def __init__(self) -> None:
        self._free_at = 0.0
        self._bodies = 0

    def begin(self) -> bool:
        """Whether one more body may be discarded. If so, call `end` afterwards."""
        if self._bodies >= MAX_DISCARDED:
            return False
        self._bodies += 1
        return True

    def end(self) -> None:
        self._bodies -= 1

    async def next_step(self) -> None:
        """Wait until the next 64 KiB may be discarded."""
        now = asyncio.get_running_loop().time()
        begins_at = max(now, self._free_at)
        self._free_at = begins_at + DISCARD_SECONDS
        await asyncio.sleep(begins_at - now)


class RequestBody:
    """One body: of HTTP/1.1, where the next request follows it on the connection, or of HTTP/2, alone on its stream."""

    def __init__(self, receive: Receive, scope: Mapping[str, Any], *, timeout_seconds: float) -> None:
        self._receive = receive
        self._scope = scope
        self._precedes_others = scope["http_version"] == "1.1"
        self._timeout_seconds = timeout_seconds
        self._deadline = asyncio.get_running_loop().time() + timeout_seconds
        self._is_complete = False
        self._received = 0
        self._receivers = 0
        self._is_left = False

    async def receive(self) -> Message:
        """ASGI's `receive`.

        Raises:
            RequestReadTimeoutError: the body is not complete within its time, which counts from the request's head.
        """
        if self._is_complete:
            return await self._receive()
        self._receivers += 1
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            text = f"the request was not received within {self._timeout_seconds:g} s"
            raise RequestReadTimeoutError(text) from None
        finally:
            self._receivers -= 1
        self._received += len(message.get("body", b""))
        self._is_complete = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    def sending(self, send: Send) -> Send:
        """A `send` for answers before the end of the body, the rest of which must not be taken for the next request.

        It reads a small rest first, and else has the connection closed. Await `discard` once the call is over.
        """

        async def send_after_body(message: Message) -> None:
            if message["type"] == "http.response.start" and not self._is_complete:
                if self._precedes_others:
                    await self._read_past()
                self._is_left = not self._is_complete
                if self._is_left and self._precedes_others:
                    message = {**message, "headers": [*message["headers"], CLOSE]}
            await send(message)

        return send_after_body

    async def discard(self, discarding: Discarding) -> None:
        """Read and drop the rest of the body after an early answer, slowly, while it arrives and its time is not over.

        So a client that reads only after it has sent all of its body gets the answer, and so does an HTTP/2 client that
        takes no answer which is followed by the end of its stream (curl 7.88). While this waits, the server reads no
        further. What comes later the server discards itself as long as it arrives without a pause (h2corn 2.0), as fast
        as it can: with 64 bodies at once other calls waited 80 ms.
        """
        if not self._is_left or not discarding.begin():
            return
        try:
            while not self._is_complete and self._receivers == 0:
                await discarding.next_step()
                if asyncio.get_running_loop().time() >= self._deadline:
                    return  # checked here: bytes that have arrived are received without a check of the deadline
                async with asyncio.timeout(PAUSE_SECONDS):
                    await self._receive_bytes(READ_PAST_BYTES)
        except (TimeoutError, RequestReadTimeoutError):
            return
        finally:
            discarding.end()

    async def _read_past(self) -> None:
        if (declared_length(self._scope["headers"]) or 0) > self._received + READ_PAST_BYTES:
            return
        try:
            async with asyncio.timeout(PAUSE_SECONDS):
                await self._receive_bytes(READ_PAST_BYTES)
        except (TimeoutError, RequestReadTimeoutError):
            return

    async def _receive_bytes(self, count: int) -> None:
        """Receive until just over `count` bytes, or the end of the body."""
        until = self._received + count
        while not self._is_complete and self._receivers == 0 and self._received <= until:
            await self.receive()
