"""Every way in which an event can break a rule, over the wire in both codecs: refused, explained, without effect."""

import json

import pytest

from tests.support.wire.http1 import JSON, LOG_EVENTS, PROTO, Connection, connection
from tests.support.wire.ingress import Ingress, Store
from tests.support.wire.refusals import CANARY, REFUSALS, Refusal, assert_error

pytestmark = [pytest.mark.emulators, pytest.mark.asyncio(loop_scope="module")]

AFTERWARDS = {"event_name": "afterwards", "forward_to_statsig": False}


async def assert_serves_the_next(caller: Connection) -> None:
    assert (await caller.call(AFTERWARDS)).status == 200


async def assert_nothing_written(store: Store) -> None:
    assert await store.rows("e.event_name != 'afterwards'") == []


@pytest.mark.parametrize("codec", ["json", "binary"])
@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS.keys())
async def test_refuses(ingress: Ingress, store: Store, refusal: Refusal, codec: str) -> None:
    async with connection(ingress.port) as caller:
        if codec == "json":
            answer = await caller.call(refusal.as_json, JSON)
            broken = refusal.broken if refusal.json_broken is None else refusal.json_broken
        else:
            answer = await caller.call(refusal.as_binary, PROTO)
            broken = refusal.broken

        found = assert_error(answer, "invalid_argument")
        assert found.broken == broken
        assert answer.keeps_the_connection
        await assert_serves_the_next(caller)
    await assert_nothing_written(store)


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS.keys())
async def test_a_bad_event_does_not_spoil_a_batch(ingress: Ingress, store: Store, refusal: Refusal) -> None:
    good = json.dumps(AFTERWARDS)
    events = f"[{good},{refusal.as_json.decode()},{good}]"
    async with connection(ingress.port) as caller:
        answer = await caller.call(f'{{"events":{events}}}'.encode(), path=LOG_EVENTS)

    assert answer.status == 200
    first, middle, last = answer.json()["outcomes"]
    assert "logged" in first
    assert "logged" in last
    error = middle["error"]
    assert error["code"] == "invalid_argument"
    found = {(v["field"], v["reason"]) for v in error["badRequest"]["fieldViolations"]}
    assert found == (refusal.broken if refusal.json_broken is None else refusal.json_broken)
    for field, _ in found:
        assert f"events[1].{field}: " in error["message"] or error["message"].endswith("…")
    assert CANARY not in json.dumps(error)
    await assert_nothing_written(store)


async def test_refuses_a_key_that_was_used_for_other_content(ingress: Ingress, store: Store) -> None:
    first = {"event_name": "afterwards", "actor_id": CANARY, "idempotency_key": "used", "forward_to_statsig": False}
    async with connection(ingress.port) as caller:
        event_id = (await caller.call(first)).json()["eventId"]
        answer = await caller.call(first | {"event_name": f"other {CANARY}"})

        assert_error(answer, "already_exists")
        assert "idempotency_key" in answer.json()["message"]
        await assert_serves_the_next(caller)
    assert (await store.row(event_id))["event_name"] == "afterwards"


async def test_what_was_refused_was_not_published(store: Store) -> None:
    # The last of this module: nothing before it was to be forwarded and accepted.
    assert await store.no_messages()
