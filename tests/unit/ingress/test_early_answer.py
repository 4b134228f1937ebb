"""EarlyAnswer and RequestBody: of what an answer does not need a little is read, and much is discarded behind it."""

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from ingress.http import discarding as rates
from ingress.http.discarding import MAX_DISCARDED, MAX_WAITING, Discarding
from ingress.http.early_answer import CLOSE, EarlyAnswer
from ingress.http.request_body import READ_PAST_BYTES, RequestBody, declared_length
from shared.errors import RequestReadTimeoutError

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


async def test_an_early_answer_waits_for_the_rest_and_keeps_the_connection() -> None:
    client = Client([PIECE, PIECE, LAST])

    await client.is_served()

    assert client.unread == 0
    assert client.answers == [START, TEXT]


@pytest.mark.parametrize("messages", [[], [PIECE, PIECE]], ids=["nothing", "a part"])
async def test_an_early_answer_closes_where_the_rest_does_not_come(messages: list[Message]) -> None:
    client = Client(messages)

    await client.is_served()

    assert client.is_closed
    assert client.is_complete


async def test_an_answer_to_a_whole_request_reads_nothing_more() -> None:
    client = Client([LAST, GONE])

    await client.body.receive()
    await client.is_served()

    assert client.unread == 1
    assert client.answers == [START, TEXT]


async def test_over_http2_nothing_is_waited_for_before_the_answer() -> None:
    client = Client([PIECE, LAST], http_version="2")

    await client.is_answered()
    assert client.unread == 2
    assert client.answers == [START, TEXT]
    await client.answer.end()

    assert client.unread == 0
    assert client.answers == [START, TEXT]


async def test_a_body_out_of_time_is_not_waited_for_again() -> None:
    client = Client([PIECE], timeout_seconds=0.02)

    await client.body.receive()
    with pytest.raises(RequestReadTimeoutError):
        await client.body.receive()
    started = asyncio.get_running_loop().time()
    await client.is_served()

    assert client.is_closed
    assert asyncio.get_running_loop().time() - started < 0.2


async def test_a_body_that_is_being_received_is_left_to_who_receives_it() -> None:
    client = Client([])
    receiving = asyncio.create_task(client.body.receive())
    await asyncio.sleep(0)

    await client.is_served()

    assert client.is_closed
    assert not receiving.done()
    receiving.cancel()


async def test_of_a_large_body_that_says_its_length_nothing_is_read_before_the_answer() -> None:
    client = Client([PIECE, LAST], length=READ_PAST_BYTES + 1)

    await client.is_answered()

    assert client.unread == 2
    assert client.is_closed


async def test_the_little_that_is_left_of_a_large_body_is_read_past() -> None:
    client = Client([PIECE | {"body": bytes(READ_PAST_BYTES)}, PIECE, LAST], length=2 * READ_PAST_BYTES)

    await client.body.receive()
    await client.is_served()

    assert client.unread == 0
    assert not client.is_closed


async def test_of_a_body_without_length_no_more_than_a_little_is_read_before_the_answer() -> None:
    client = Client([LARGE_PIECE] * 1000)

    await client.is_answered()

    assert (1000 - client.unread) * 8192 <= READ_PAST_BYTES + 8192
    assert client.is_closed


def test_the_length_of_a_body_is_what_the_head_says() -> None:
    assert declared_length([(b"a", b"1"), (b"content-length", b"23")]) == 23
    assert declared_length([(b"transfer-encoding", b"chunked")]) is None


async def test_behind_the_answer_what_still_comes_is_discarded() -> None:
    client = Client([LARGE_PIECE] * 100 + [LAST], length=2 * READ_PAST_BYTES)

    await client.is_answered()
    assert client.unread == 101
    await client.answer.end()

    assert client.unread == 0


async def test_the_answer_is_complete_for_the_client_before_the_server_is_told_its_end() -> None:
    client = Client([LARGE_PIECE, LAST], length=2 * READ_PAST_BYTES)

    await client.is_answered()
    start, text = client.answers
    assert (b"content-length", b"2") in start["headers"]
    assert text == TEXT | {"more_body": True}
    await client.answer.end()

    assert client.answers[2:] == [END]


async def test_an_answer_that_says_its_length_keeps_it() -> None:
    client = Client([LAST], length=2 * READ_PAST_BYTES)

    await client.is_answered(START | {"headers": [(b"content-length", b"2")]})

    assert client.answers[0]["headers"] == [(b"content-length", b"2"), CLOSE]
    assert START["headers"] == []


async def test_an_answer_of_several_parts_without_a_length_is_sent_as_it_is() -> None:
    client = Client([LAST], length=2 * READ_PAST_BYTES)

    await client.answer(START)
    await client.answer(TEXT | {"more_body": True})
    await client.answer(TEXT)
    await client.answer.end()

    assert client.answers[0]["headers"] == [CLOSE]
    assert client.answers[1:] == [TEXT | {"more_body": True}, TEXT]


@pytest.mark.parametrize("end", [[], [GONE]], ids=["nothing more", "a hang-up"])
async def test_discarding_ends_with_what_comes(end: list[Message]) -> None:
    client = Client([PIECE, *end], length=2 * READ_PAST_BYTES)

    await client.is_served()

    assert client.unread == 0
    assert client.is_complete


async def test_discarding_ends_with_the_time_of_the_body_and_the_connection_is_reset() -> None:
    class Endless(Client):
        async def receive(self) -> Message:
            return LARGE_PIECE

    client = Endless([], length=2 * READ_PAST_BYTES, timeout_seconds=0.02)

    await client.is_served()

    assert client.is_closed
    assert not client.is_complete


async def test_connections_take_turns_of_64_kib_each() -> None:
    discarding = Discarding()
    received: list[str] = []

    class Named(Client):
        def __init__(self, name: str) -> None:
            super().__init__([LARGE_PIECE] * 17 + [LAST], discarding=discarding, length=10 * READ_PAST_BYTES)
            self._name = name

        async def receive(self) -> Message:
            received.append(self._name)
            return await super().receive()

    clients = [Named(name) for name in "abc"]
    for client in clients:
        await client.is_answered()
    await asyncio.gather(*(client.answer.end() for client in clients))

    assert "".join(received) == ("a" * 9 + "b" * 9 + "c" * 9) * 2


def large(discarding: Discarding, count: int, **options: Any) -> list[Client]:
    return [
        Client([LARGE_PIECE] * 100 + [LAST], discarding=discarding, length=20 * READ_PAST_BYTES, **options)
        for _ in range(count)
    ]


async def test_an_answer_waits_until_its_body_can_be_discarded() -> None:
    discarding = Discarding()
    first, *others, last = large(discarding, MAX_DISCARDED + 1)
    for client in (first, *others):
        await client.is_answered()

    answering = asyncio.create_task(last.is_answered())
    await asyncio.sleep(0)
    assert not last.answers
    first.answer.release()
    first.answer.release()  # only once
    await answering
    await last.answer.end()

    assert last.unread == 0
    assert last.is_complete


async def test_a_body_that_finds_no_room_in_time_is_not_read_and_its_connection_is_reset(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rates, "WAIT_SECONDS", 0.01)
    discarding = Discarding()
    *others, last = large(discarding, MAX_DISCARDED + 1)
    for client in others:
        await client.is_answered()

    await last.is_served()

    assert last.unread == 101
    assert last.is_closed
    assert not last.is_complete
    others[0].answer.release()
    (afterwards,) = large(discarding, 1)
    await afterwards.is_served()
    assert afterwards.unread == 0


async def test_beside_so_many_that_wait_an_answer_is_not_held_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "WAIT_SECONDS", 60.0)
    discarding = Discarding()
    *others, last = large(discarding, MAX_DISCARDED + MAX_WAITING + 1)
    answering = [asyncio.create_task(client.is_answered()) for client in others]
    await asyncio.sleep(0)

    await last.is_served()

    assert not last.is_complete
    for each in answering:
        each.cancel()


async def test_over_http2_an_answer_never_waits_for_room() -> None:
    discarding = Discarding()
    for client in large(discarding, MAX_DISCARDED):
        await client.is_answered()
    (last,) = large(discarding, 1, http_version="2")

    await last.is_served()

    assert last.unread == 101
    assert last.answers == [START, TEXT]
