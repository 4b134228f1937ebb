"""The stand-in for Statsig over real sockets: how it misbehaves on command."""

import asyncio
import time
from typing import Any

import pytest

from deploy.local.statsig_stand_in import StandIn
from tests.support.asking_stand_in import (
    connect,
    control,
    event,
    get,
    logged_ids,
    raw_post,
    send,
    until_stats,
)


async def test_a_status_is_answered_as_told_and_keeps_nothing(stand_in: StandIn) -> None:
    behaviour = {"kind": "status", "status": 503, "headers": {"Retry-After": "7"}, "body": "closed"}
    await control(stand_in, {"behaviour": behaviour, "times": 2})

    answers = [await send(stand_in, event("a")) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [503, 503, 202]
    assert (answers[0].headers["Retry-After"], answers[0].text) == ("7", "closed")
    assert logged_ids(stand_in) == ["a"]


@pytest.mark.parametrize(
    ("behaviour", "kept"),
    [
        ({"kind": "status", "status": 200}, 1),
        ({"kind": "status", "status": 204}, 1),
        ({"kind": "status", "status": 302, "headers": {"Location": "/x"}}, 0),
        ({"kind": "status", "status": 500, "accept": True}, 1),
        ({"kind": "status", "status": 202, "accept": False}, 0),
    ],
)
async def test_a_2xx_keeps_the_events_unless_told_otherwise(
    stand_in: StandIn, behaviour: dict[str, Any], kept: int
) -> None:
    await control(stand_in, {"behaviour": behaviour})

    answer = await send(stand_in, event("a"), allow_redirects=False)

    assert answer.status_code == behaviour["status"]
    assert len(stand_in.logged()) == kept


@pytest.mark.parametrize("accept", [True, False])
async def test_a_hanging_request_is_read_and_never_answered(stand_in: StandIn, *, accept: bool) -> None:
    await control(stand_in, {"behaviour": {"kind": "hang", "accept": accept}})
    reader, writer = await connect(stand_in)
    writer.write(raw_post(event("a")))
    await until_stats(stand_in, "outcomes", {"hang": 1})

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.1)

    assert logged_ids(stand_in) == (["a"] if accept else [])
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("accept", [True, False])
async def test_a_reset_after_the_read_is_a_real_rst(stand_in: StandIn, *, accept: bool) -> None:
    await control(stand_in, {"behaviour": {"kind": "reset", "when": "after_read", "accept": accept}})
    reader, writer = await connect(stand_in)
    writer.write(raw_post(event("a")))

    with pytest.raises(ConnectionResetError):
        await reader.read()

    assert logged_ids(stand_in) == (["a"] if accept else [])
    writer.close()


async def test_a_reset_before_the_read_comes_when_the_headers_are_in(stand_in: StandIn) -> None:
    await control(stand_in, {"behaviour": {"kind": "reset", "when": "before_read"}, "times": 1})
    reader, writer = await connect(stand_in)
    writer.write(raw_post(event("a")).partition(b"\r\n\r\n")[0] + b"\r\n\r\n")

    with pytest.raises(ConnectionResetError):
        await reader.read()

    writer.close()
    assert (await send(stand_in, event("b"))).status_code == 202
    assert logged_ids(stand_in) == ["b"]


async def test_a_slow_answer_comes_late(stand_in: StandIn) -> None:
    await control(stand_in, {"behaviour": {"kind": "slow", "delay_seconds": 0.2}})
    started = time.monotonic()

    assert (await send(stand_in, event("a"))).status_code == 202
    assert time.monotonic() - started >= 0.2


async def test_the_events_of_a_slow_answer_are_kept_at_once_and_a_client_that_leaves_is_counted(
    stand_in: StandIn,
) -> None:
    await control(stand_in, {"behaviour": {"kind": "slow", "delay_seconds": 30}})
    _, writer = await connect(stand_in)
    writer.write(raw_post(event("a")))

    await until_stats(stand_in, "accepted", 1)
    assert logged_ids(stand_in) == ["a"]
    assert stand_in.stats()["outcomes"] == {}
    writer.close()
    await writer.wait_closed()
    await until_stats(stand_in, "outcomes", {"gone": 1})


async def test_a_dripped_answer_outlives_a_timeout_per_read(stand_in: StandIn) -> None:
    await control(stand_in, {"behaviour": {"kind": "drip", "gap_seconds": 0.03}})
    started = time.monotonic()

    answer = await send(stand_in, event("a"), timeout=0.4)

    assert answer.json() == {"success": True}
    assert time.monotonic() - started >= 16 * 0.03
    assert logged_ids(stand_in) == ["a"]


async def test_an_answer_that_breaks_off_announces_more_than_it_sends(stand_in: StandIn) -> None:
    await control(stand_in, {"behaviour": {"kind": "status", "status": 202, "accept": False, "breaks_off": True}})
    reader, writer = await connect(stand_in)
    writer.write(raw_post(event("a")))

    head, _, body = (await reader.read()).partition(b"\r\n\r\n")

    assert (head.splitlines()[0], body) == (b"HTTP/1.1 202 Accepted", b'{"succes')
    assert b"Content-Length: 16" in head
    assert stand_in.stats()["outcomes"] == {"broken_off": 1}
    writer.close()
    await writer.wait_closed()


async def test_a_status_that_waits_keeps_its_events_at_once(stand_in: StandIn) -> None:
    await control(stand_in, {"behaviour": {"kind": "status", "status": 504, "accept": True, "delay_seconds": 0.2}})
    started = time.monotonic()

    assert (await send(stand_in, event("a"))).status_code == 504
    assert time.monotonic() - started >= 0.2
    (kept,), (request,) = stand_in.logged(), stand_in.requests()
    assert kept.received_at - request.at < 0.2


async def test_rules_are_used_in_order_until_their_times_are_up(stand_in: StandIn) -> None:
    await control(
        stand_in,
        {"behaviour": {"kind": "status", "status": 503}, "times": 2},
        {"behaviour": {"kind": "status", "status": 429}, "times": 1},
    )

    assert [(await send(stand_in, event("a"))).status_code for _ in range(4)] == [503, 503, 429, 202]
    assert [(rule["used"], rule["left"]) for rule in (await get(stand_in, "/control"))["rules"]] == [(2, 0), (1, 0)]


async def test_a_seeded_probability_repeats_itself(stand_in: StandIn) -> None:
    rule = {"behaviour": {"kind": "status", "status": 500}, "probability": 0.5, "seed": 7}
    runs = []
    for _ in range(2):
        await control(stand_in, rule)
        runs.append([(await send(stand_in, event("a"))).status_code for _ in range(20)])

    assert runs[0] == runs[1]
    assert set(runs[0]) == {202, 500}
