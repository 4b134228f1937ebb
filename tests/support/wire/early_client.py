"""A client of one exchange over ASGI, without a socket: what it sends, and what it is answered."""

import asyncio
from collections.abc import Iterable
from typing import Any

from ingress.http.discarding import Discarding
from ingress.http.early_answer import CLOSE, EarlyAnswer
from ingress.http.request_body import RequestBody

Message = dict[str, Any]
START: Message = {"type": "http.response.start", "status": 404, "headers": []}
TEXT: Message = {"type": "http.response.body", "body": b"no"}
END: Message = {"type": "http.response.body", "body": b""}
PIECE: Message = {"type": "http.request", "body": b"a", "more_body": True}
LARGE_PIECE = PIECE | {"body": bytes(8192)}
LAST: Message = {"type": "http.request", "body": b"", "more_body": False}
GONE: Message = {"type": "http.disconnect"}


class Client:
    """What it sends, and then silence; and what it is answered."""

    def __init__(
        self,
        messages: Iterable[Message],
        *,
        discarding: Discarding | None = None,
        http_version: str = "1.1",
        length: int | None = None,
        timeout_seconds: float = 5.0,
    ) -> None:
        self._messages = list(messages)
        self.answers: list[Message] = []
        headers = [(b"host", b"a")] + ([] if length is None else [(b"content-length", b"%d" % length)])
        scope = {"http_version": http_version, "headers": headers}
        self.body = RequestBody(self.receive, scope, timeout_seconds=timeout_seconds)
        self.answer = EarlyAnswer(self.body, self.send, discarding or Discarding())

    async def receive(self) -> Message:
        if not self._messages:
            await asyncio.get_running_loop().create_future()
        return self._messages.pop(0)

    async def send(self, message: Any) -> None:
        self.answers.append(message)

    async def is_answered(self, start: Message = START) -> None:
        await self.answer(start)
        await self.answer(TEXT)

    async def is_served(self) -> None:
        await self.is_answered()
        try:
            await self.answer.end()
        finally:
            self.answer.release()

    @property
    def unread(self) -> int:
        return len(self._messages)

    @property
    def is_closed(self) -> bool:
        return CLOSE in self.answers[0]["headers"]

    @property
    def is_complete(self) -> bool:
        """Whether the server was told the answer's end; otherwise it resets the connection."""
        return not self.answers[-1].get("more_body", False)
