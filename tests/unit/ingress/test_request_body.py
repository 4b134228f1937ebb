"""RequestBody: read within its time; of what an answer does not need a little is read and much is left."""

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from ingress.http.request_body import CLOSE, MAX_DISCARDED, READ_PAST_BYTES, Discarding, RequestBody, declared_length
from shared.errors import RequestReadTimeoutError

Message = dict[str, Any]
START: Message = {"type": "http.response.start", "status": 404, "headers": []}
PIECE: Message = {"type": "http.request", "body": b"a", "more_body": True}
LAST: Message = {"type": "http.request", "body": b"", "more_body": False}
GONE: Message = {"type": "http.disconnect"}


class Client:
    """What it sends, and then silence."""

    def __init__(self, messages: Iterable[Message]) -> None:
        self._messages = list(messages)
        self.answers: list[Message] = []

    async def receive(self) -> Message:
        if not self._messages:
            await asyncio.get_running_loop().create_future()
        return self._messages.pop(0)

    async def send(self, message: Any) -> None:
        self.answers.append(message)

    @property
    def unread(self) -> int:
        return len(self._messages)

    @property
    def is_closed(self) -> bool:
        return CLOSE in self.answers[0]["headers"]


def body_of(
    client: Client, *, http_version: str = "1.1", length: int | None = None, timeout_seconds: float = 5.0
) -> RequestBody:
    headers = [(b"host", b"a")] + ([] if length is None else [(b"content-length", b"%d" % length)])
    return RequestBody(
        client.receive, {"http_version": http_version, "headers": headers}, timeout_seconds=timeout_seconds
    )


async def test_an_early_answer_waits_for_the_rest_and_keeps_the_connection() -> None:
    client = Client([PIECE, PIECE, LAST])

    await body_of(client).sending(client.send)(START)

    assert client.unread == 0
    assert not client.is_closed


@pytest.mark.parametrize("messages", [[], [PIECE, PIECE]], ids=["nothing", "a part"])
async def test_an_early_answer_closes_where_the_rest_does_not_come(messages: list[Message]) -> None:
    client = Client(messages)

    await body_of(client).sending(client.send)(START)

    assert client.is_closed


async def test_an_answer_to_a_whole_request_reads_nothing_more() -> None:
    client = Client([LAST, GONE])
    body = body_of(client)

    await body.receive()
    await body.sending(client.send)(START)

    assert client.unread == 1
    assert not client.is_closed


async def test_over_http2_nothing_is_waited_for_before_the_answer() -> None:
    client = Client([PIECE, LAST])

    body = body_of(client, http_version="2")
    await body.sending(client.send)(START)

    assert client.unread == 2
    assert not client.is_closed
    await body.discard(Discarding())
    assert client.unread == 0


async def test_a_body_out_of_time_is_not_waited_for_again() -> None:
    client = Client([PIECE])
    body = body_of(client, timeout_seconds=0.02)

    await body.receive()
    with pytest.raises(RequestReadTimeoutError):
        await body.receive()
    started = asyncio.get_running_loop().time()
    await body.sending(client.send)(START)

    assert client.is_closed
    assert asyncio.get_running_loop().time() - started < 0.2


async def test_a_body_that_is_being_received_is_left_to_who_receives_it() -> None:
    client = Client([])
    body = body_of(client)
    receiving = asyncio.create_task(body.receive())
    await asyncio.sleep(0)

    await body.sending(client.send)(START)

    assert client.is_closed
    assert not receiving.done()
    receiving.cancel()


async def test_of_a_large_body_that_says_its_length_nothing_is_read_and_the_connection_is_closed() -> None:
    client = Client([PIECE, LAST])

    await body_of(client, length=READ_PAST_BYTES + 1).sending(client.send)(START)

    assert client.unread == 2
    assert client.is_closed


async def test_the_little_that_is_left_of_a_large_body_is_read_past() -> None:
    client = Client([PIECE | {"body": bytes(READ_PAST_BYTES)}, PIECE, LAST])
    body = body_of(client, length=2 * READ_PAST_BYTES)

    await body.receive()
    await body.sending(client.send)(START)

    assert client.unread == 0
    assert not client.is_closed


async def test_of_a_body_without_length_no_more_than_a_little_is_read() -> None:
    client = Client([PIECE | {"body": bytes(8192)}] * 1000)

    await body_of(client).sending(client.send)(START)

    assert (1000 - client.unread) * 8192 <= READ_PAST_BYTES + 8192
    assert client.is_closed


def test_the_length_of_a_body_is_what_the_head_says() -> None:
    assert declared_length([(b"a", b"1"), (b"content-length", b"23")]) == 23
    assert declared_length([(b"transfer-encoding", b"chunked")]) is None


async def test_behind_the_answer_what_still_comes_is_discarded() -> None:
    client = Client([PIECE | {"body": bytes(8192)}] * 100 + [LAST])
    body = body_of(client, length=2 * READ_PAST_BYTES)

    await body.sending(client.send)(START)
    assert client.unread == 101
    await body.discard(Discarding())

    assert client.unread == 0


@pytest.mark.parametrize("end", [[], [GONE]], ids=["nothing more", "a hang-up"])
async def test_discarding_ends_with_what_comes(end: list[Message]) -> None:
    client = Client([PIECE, *end])
    body = body_of(client, length=2 * READ_PAST_BYTES)

    await body.sending(client.send)(START)
    await body.discard(Discarding())

    assert client.unread == 0


async def test_discarding_ends_with_the_time_of_the_body() -> None:
    endless = Client([])

    async def receive() -> Message:
        return PIECE | {"body": bytes(8192)}

    endless.receive = receive  # type: ignore[method-assign]
    body = body_of(endless, length=2 * READ_PAST_BYTES, timeout_seconds=0.02)

    await body.sending(endless.send)(START)
    await body.discard(Discarding())

    assert endless.is_closed


async def test_nothing_is_discarded_where_the_connection_is_kept() -> None:
    client = Client([LAST, GONE])
    body = body_of(client)

    await body.receive()
    await body.sending(client.send)(START)
    await body.discard(Discarding())

    assert client.unread == 1


async def test_connections_take_turns_of_64_kib_each() -> None:
    discarding = Discarding()
    received: list[str] = []

    class Named(Client):
        def __init__(self, name: str) -> None:
            super().__init__([PIECE | {"body": bytes(8192)}] * 17 + [LAST])
            self._name = name

        async def receive(self) -> Message:
            received.append(self._name)
            return await super().receive()

    bodies = []
    for name in "abc":
        client = Named(name)
        bodies.append(body_of(client, length=10 * READ_PAST_BYTES))
        await bodies[-1].sending(client.send)(START)
    await asyncio.gather(*(body.discard(discarding) for body in bodies))

    assert "".join(received) == ("a" * 9 + "b" * 9 + "c" * 9) * 2


async def test_no_more_than_so_many_are_discarded_at_once() -> None:
    discarding = Discarding()
    clients = [Client([PIECE | {"body": bytes(8192)}] * 100) for _ in range(MAX_DISCARDED + 1)]
    bodies = [body_of(client, length=20 * READ_PAST_BYTES) for client in clients]
    for client, body in zip(clients, bodies, strict=True):
        await body.sending(client.send)(START)
    tasks = [asyncio.create_task(body.discard(discarding)) for body in bodies[:-1]]
    await asyncio.sleep(0)

    await bodies[-1].discard(discarding)
    assert clients[-1].unread == 100
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

    rest = asyncio.create_task(bodies[-1].discard(discarding))
    async with asyncio.timeout(5):
        while clients[-1].unread == 100:
            await asyncio.sleep(0)
    rest.cancel()
