"""The body of one request: received in time, or left where the answer needs none of it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final

from ingress.http.refusals import Message, Send
from shared.errors import RequestReadTimeoutError

Receive = Callable[[], Awaitable[Message]]

PAUSE_SECONDS: Final = 0.25
"""How long the answer to an unfinished request waits for the little that is left of it."""

READ_PAST_BYTES: Final = 64 * 1024
"""So much is read past, and the connection is kept. Where there is more it is closed, and the rest discarded slowly."""

DISCARD_SECONDS: Final = 0.002
"""For each 64 KiB that are discarded, of all connections together: 32 MiB a second. It takes a twentieth of the event
loop's time, and a lone client that sends 4 MiB before it reads its answer waits for an eighth of a second."""

CLOSE: Final = (b"connection", b"close")


def declared_length(headers: Iterable[tuple[bytes, bytes]]) -> int | None:
    """Of a body, as the head has it, which the server has checked and keeps to; None where it says nothing."""
    for name, value in headers:
        if name == b"content-length":
            return int(value)
    return None


MAX_DISCARDED: Final = 64
"""Bodies that are discarded slowly at once. The server holds a third of a MiB of each meanwhile (h2corn 2.0, whatever
its settings); of two hundred at once a process grew by 130 MiB. Those beyond are left to the server."""


class Discarding:
    """Which bodies are discarded slowly, and when the next 64 KiB may be, of whichever body."""

    def __init__(self) -> None:
        self._free_at = 0.0
        self._bodies = 0

    def begin(self) -> bool:
        """Whether there is room for one more, which is to be ended then."""
        if self._bodies >= MAX_DISCARDED:
            return False
        self._bodies += 1
        return True

    def end(self) -> None:
        self._bodies -= 1

    async def next_step(self) -> None:
        now = asyncio.get_running_loop().time()
        begins_at = max(now, self._free_at)
        self._free_at = begins_at + DISCARD_SECONDS
        await asyncio.sleep(begins_at - now)


class RequestBody:
    """Of HTTP/1.1, where the next request comes after it, or of HTTP/2, where it is alone on its stream."""

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
        """As ASGI has it.

        Raises:
            RequestReadTimeoutError: the body is not there, and its time is over.
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
        """A `send` that reads past what little is left of the body, or closes: it is not to be taken for a request.

        Once the call is over, `discard` is to be awaited.
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
        """Read what is left behind an answer, slowly, while it comes and its time is not over.

        A client that sends all of its body before it reads sees the answer by that, and so does one of HTTP/2 that
        takes no answer with the end of its stream behind (curl 7.88). As long as this waits the server reads no
        further. What comes later it discards itself while it comes without a pause (h2corn 2.0), as fast as it can:
        of 64 bodies at once others had to wait 80 ms.
        """
        if not self._is_left or not discarding.begin():
            return
        try:
            while not self._is_complete and self._receivers == 0:
                await discarding.next_step()
                if asyncio.get_running_loop().time() >= self._deadline:
                    return  # what is there already is received without a look at the time
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
        """So many and a little more, or until the end of the body."""
        until = self._received + count
        while not self._is_complete and self._receivers == 0 and self._received <= until:
            await self.receive()
