"""How many bodies are discarded at a time, in which turns, and what becomes of answers that find no room."""

import asyncio
from typing import Any

import pytest

from ingress.http import discarding as rates
from ingress.http.discarding import MAX_DISCARDED, MAX_WAITING, Discarding
from ingress.http.request_body import READ_PAST_BYTES
from ingress.spreading import spread
from tests.support.wire.early_client import LARGE_PIECE, LAST, START, TEXT, Client, Message


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


async def test_answers_that_began_to_wait_together_do_not_end_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "WAIT_SECONDS", 0.1)
    discarding = Discarding()
    for client in large(discarding, MAX_DISCARDED):
        await client.is_answered()
    ended: list[int] = []

    async def waits(number: int, client: Client) -> None:
        await client.is_answered()
        ended.append(number)

    await asyncio.gather(*(waits(number, client) for number, client in enumerate(large(discarding, 8))))

    # Timers go off in their order, however late they are.
    assert ended == sorted(range(8), key=lambda number: spread(1, number))
    assert ended != sorted(ended)


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
