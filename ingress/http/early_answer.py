"""Answers that may come before the end of the request's body: what becomes of the rest of the body."""

from typing import Final

from ingress.http.discarding import Discarding
from ingress.http.refusals import Message, Send
from ingress.http.request_body import RequestBody

CLOSE: Final = (b"connection", b"close")
CONTENT_LENGTH: Final = b"content-length"


class EarlyAnswer:
    """The answer to one request. Call it as ASGI's `send`, await `end` after the call, and call `release` in any case.

    Over HTTP/1.1 the rest of a body must not be taken for the next request. A small rest is read before the answer, and
    the connection is kept. Otherwise the connection is closed, and the rest is discarded slowly while it arrives. So a
    client that reads only after it has sent all of its body gets the answer, and so does an HTTP/2 client that takes no
    answer which is followed by the end of its stream (curl 7.88).

    Where there is no room or no time to discard it, the answer is complete for the client, but the server is not told
    its end, and resets the connection (h2corn 2.0; it logs `request failed`). Otherwise it would itself discard what
    arrives, as fast as it can: beside 200 such connections, each made anew at once, other calls waited 0.3 s.
    """

    def __init__(self, body: RequestBody, send: Send, discarding: Discarding) -> None:
        self._body = body
        self._send = send
        self._discarding = discarding
        self._start: Message | None = None
        """Held back for the first part of the body, to have its length."""
        self._is_early = False
        self._closes = False
        self._has_room = False
        self._lacks_end = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and not self._body.is_complete:
            await self._begin(message)
        elif self._closes and message["type"] == "http.response.body":
            await self._send_part(message)
        else:
            await self._send(message)

    async def end(self) -> None:
        """Discard the rest of the body, and end the answer if that was possible."""
        if not self._is_early:
            return
        if not self._closes:
            self._has_room = await self._discarding.begin(waits=False)
        is_discarded = self._has_room and await self._body.discard(self._discarding)
        if self._lacks_end and is_discarded:
            await self._send({"type": "http.response.body", "body": b""})

    def release(self) -> None:
        """Let other bodies be discarded. Idempotent."""
        if self._has_room:
            self._has_room = False
            self._discarding.end()

    async def _begin(self, start: Message) -> None:
        if self._body.precedes_others:
            await self._body.read_past()
        self._is_early = not self._body.is_complete
        self._closes = self._is_early and self._body.precedes_others
        if self._closes:
            self._start = {**start, "headers": [*start["headers"], CLOSE]}
            self._has_room = await self._discarding.begin()
        else:
            await self._send(start)

    async def _send_part(self, part: Message) -> None:
        is_last = not part.get("more_body", False)
        if self._start is not None:
            start, self._start = self._start, None
            if is_last and all(name != CONTENT_LENGTH for name, _ in start["headers"]):
                # Without it the server would send the body in chunks, of which the last one is the answer's end.
                start["headers"].append((CONTENT_LENGTH, b"%d" % len(part.get("body", b""))))
            self._lacks_end = any(name == CONTENT_LENGTH for name, _ in start["headers"])
            await self._send(start)
        await self._send({**part, "more_body": True} if is_last and self._lacks_end else part)
