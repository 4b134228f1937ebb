"""The body of one request: received within its time, or discarded when the answer does not need the rest of it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final

from ingress.http.discarding import STEP_BYTES, Discarding
from ingress.http.refusals import Message
from shared.errors import RequestReadTimeoutError

Receive = Callable[[], Awaitable[Message]]

PAUSE_SECONDS: Final = 0.25
"""How long an early answer waits for the rest of a small body, and how long discarding waits for more of a large
one."""

READ_PAST_BYTES: Final = 64 * 1024
"""A rest of up to so many bytes is read before an early answer, and the connection is kept."""


def declared_length(headers: Iterable[tuple[bytes, bytes]]) -> int | None:
    """The body's `content-length`, which the server has checked and enforces; None if there is none."""
    for name, value in headers:
        if name == b"content-length":
            return int(value)
    return None


class RequestBody:
    """One body: of HTTP/1.1, where the next request follows it on the connection, or of HTTP/2, alone on its stream."""

    def __init__(self, receive: Receive, scope: Mapping[str, Any], *, timeout_seconds: float) -> None:
        self._receive = receive
        self._scope = scope
        self._timeout_seconds = timeout_seconds
        self._deadline = asyncio.get_running_loop().time() + timeout_seconds
        self._received = 0
        self._receivers = 0
        self.is_complete = False
        """Whether all of it was received, or the client is gone."""
        self.precedes_others = scope["http_version"] == "1.1"
        """Whether another request may follow it."""

    async def receive(self) -> Message:
        """ASGI's `receive`.

        Raises:
            RequestReadTimeoutError: the body is not complete within its time, which counts from the request's head.
        """
        if self.is_complete:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline):
                return await self._next()
        except TimeoutError:
            text = f"the request was not received within {self._timeout_seconds:g} s"
            raise RequestReadTimeoutError(text) from None

    async def read_past(self) -> None:
        """Read and drop the rest if it is small and comes within PAUSE_SECONDS."""
        if (declared_length(self._scope["headers"]) or 0) > self._received + READ_PAST_BYTES:
            return
        try:
            await self._receive_bytes(READ_PAST_BYTES)
        except TimeoutError:
            return

    async def discard(self, discarding: Discarding) -> bool:
        """Read and drop the rest, slowly, while it arrives. False if the body's time is over before.

        While this waits, the server reads no further.
        """
        try:
            while not self.is_complete and self._receivers == 0:
                await discarding.next_step()
                if asyncio.get_running_loop().time() >= self._deadline:
                    return False  # checked here: bytes that have arrived are received without a check of the deadline
                await self._receive_bytes(STEP_BYTES)
        except TimeoutError:
            return True  # nothing comes
        return True

    async def _receive_bytes(self, count: int) -> None:
        """Receive until just over `count` bytes, or the end of the body.

        Raises:
            TimeoutError: they do not come within PAUSE_SECONDS, or before the body's time is over.
        """
        # One timeout for all of them: the server hands on 8 KiB at a time, and one for each would take as long as that.
        gives_up_at = min(asyncio.get_running_loop().time() + PAUSE_SECONDS, self._deadline)
        until = self._received + count
        async with asyncio.timeout_at(gives_up_at):
            while not self.is_complete and self._receivers == 0 and self._received <= until:
                await self._next()

    async def _next(self) -> Message:
        self._receivers += 1
        try:
            message = await self._receive()
        finally:
            self._receivers -= 1
        self._received += len(message.get("body", b""))
        self.is_complete = message["type"] != "http.request" or not message.get("more_body", False)
        return message
