"""The stand-in for Statsig over real sockets: rules that are limited to certain events."""

import asyncio
from typing import Any

import pytest
import requests

from deploy.local.statsig_stand_in import StandIn
from tests.support.asking_stand_in import connect, control, event, get, logged_ids, raw_post, send, until_stats


@pytest.mark.parametrize("events", [{"event_ids": ["bad", "worse"]}, {"name_contains": "poison"}])
async def test_a_rule_for_events_takes_their_neighbours_down_and_nobody_else(
    stand_in: StandIn, events: dict[str, Any]
) -> None:
    await control(stand_in, {"behaviour": {"kind": "status", "status": 400}, "events": events, "times": 1})
    poison = event("bad", name="a poison pill")

    assert (await send(stand_in, event("a"))).status_code == 202
    assert (await send(stand_in, event("b"), poison, event("c"))).status_code == 400
    assert (await send(stand_in, event("b"), event("c"))).status_code == 202
    assert (await send(stand_in, poison)).status_code == 202  # the one use is used up

    assert logged_ids(stand_in) == ["a", "b", "c", "bad"]


async def test_refuse_event_is_short_for_a_status_and_its_events(stand_in: StandIn) -> None:
    await control(stand_in, {"behaviour": {"kind": "refuse_event", "event_ids": ["bad"], "status": 422}, "times": 3})

    assert (await send(stand_in, event("bad"))).status_code == 422
    (shown,) = (await get(stand_in, "/control"))["rules"]
    assert shown["summary"] == "answering 422 to batches holding 1 event id(s)"
    assert (shown["events"], shown["left"]) == ({"event_ids": ["bad"]}, 2)


async def test_an_event_can_make_every_request_hang_or_break(stand_in: StandIn) -> None:
    await control(
        stand_in,
        {"behaviour": {"kind": "hang", "accept": True}, "events": {"event_ids": ["hangs"]}},
        {"behaviour": {"kind": "reset", "when": "before_read"}, "events": {"event_ids": ["breaks"]}},
        {"behaviour": {"kind": "slow", "delay_seconds": 0.1}, "events": {"event_ids": ["waits"]}},
    )
    reader, writer = await connect(stand_in)
    writer.write(raw_post(event("a"), event("hangs")))
    await until_stats(stand_in, "outcomes", {"hang": 1})

    with pytest.raises(requests.ConnectionError):
        await send(stand_in, event("breaks"))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.1)
    assert (await send(stand_in, event("waits"))).status_code == 202
    assert (await send(stand_in, event("b"))).status_code == 202
    assert logged_ids(stand_in) == ["a", "hangs", "waits", "b"]
    writer.close()
    await writer.wait_closed()


async def test_a_rule_for_events_ahead_of_an_early_reset_sees_the_body_first(stand_in: StandIn) -> None:
    await control(
        stand_in,
        {"behaviour": {"kind": "status", "status": 422}, "events": {"event_ids": ["bad"]}},
        {"behaviour": {"kind": "reset", "when": "before_read"}},
    )

    assert (await send(stand_in, event("bad"))).status_code == 422
    with pytest.raises(requests.ConnectionError):
        await send(stand_in, event("good"))


async def test_a_share_of_all_ids_is_the_same_in_every_request(stand_in: StandIn) -> None:
    await control(stand_in, {"behaviour": {"kind": "status", "status": 500}, "events": {"share": 0.5, "seed": 3}})
    ids = [f"e-{number}" for number in range(20)]

    runs = [{each for each in ids if (await send(stand_in, event(each))).status_code == 500} for _ in range(2)]

    assert runs[0] == runs[1]
    assert 4 <= len(runs[0]) <= 16
    (first, *_) = runs[0]
    assert (await send(stand_in, event("no-share-without-id"), event(first))).status_code == 500
