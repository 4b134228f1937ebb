"""EarlyAnswer and RequestBody: of what an answer does not need a little is read, and much is discarded behind it."""

import asyncio

import pytest

from ingress.http.early_answer import CLOSE
from ingress.http.request_body import READ_PAST_BYTES, declared_length
from shared.errors import RequestReadTimeoutError
from tests.support.wire.early_client import END, GONE, LARGE_PIECE, LAST, PIECE, START, TEXT, Client, Message


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
