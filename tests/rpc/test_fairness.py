"""One caller floods: whose calls are refused, and who is answered first. Order is asserted, never time."""

import asyncio
import base64
import json
from contextlib import AsyncExitStack
from itertools import islice
from typing import Any, Final

import pytest

from ingress.http.guard import AsgiApp
from tests.support.wire.http1 import JSON, LOG_EVENTS, Answer, Connection, connection
from tests.support.wire.ingress import open_store, running_ingress
from tests.support.wire.refusals import assert_error
from tests.support.wire.tcp_proxy import Mode, tcp_proxy

pytestmark = pytest.mark.emulators


def as_caller(email: str) -> dict[str, str]:
    claims = base64.urlsafe_b64encode(json.dumps({"email": email}).encode()).decode().rstrip("=")
    return JSON | {"authorization": f"Bearer eyJhbGciOiJSUzI1NiJ9.{claims}.SIGNATURE_REMOVED_BY_GOOGLE"}


FLOOD: Final = as_caller("flood@example.com")
POLITE: Final = as_caller("polite@example.com")
ONE_AT_A_TIME: Final = {"COMMIT_CONCURRENCY": "1", "COMMIT_TIMEOUT_SECONDS": "30"}

BEGUN: Final = 3
"""Batches of 400 events that are begun while no commit is answered: those after them wait once 1,024 events do."""


def batch(events: int, name: str = "flood") -> dict[str, Any]:
    return {"events": [{"event_name": name, "forward_to_statsig": False}] * events}


async def until_refused(caller: Connection, headers: dict[str, str]) -> Answer:
    """Call until there is no room for one event more; those before wait, and are given up."""
    async with asyncio.timeout(10):
        while True:
            answer = await caller.call(batch(1)["events"][0], headers | {"connect-timeout-ms": "50"})
            if answer.status != 504:
                return answer


async def test_a_flood_is_refused_for_its_own_load_and_everything_of_a_polite_caller_is_written(
    environment: dict[str, str],
) -> None:
    async with (
        tcp_proxy(environment["SPANNER_EMULATOR_HOST"]) as proxy,
        running_ingress(
            environment | ONE_AT_A_TIME, SPANNER_EMULATOR_HOST=proxy.address, COMMIT_QUEUE_ROWS="200"
        ) as ingress,
        connection(ingress.port) as flood,
        connection(ingress.port) as more_flood,
        connection(ingress.port) as polite,
    ):
        assert (await flood.call(batch(1), FLOOD, path=LOG_EVENTS)).status == 200
        await proxy.switch(Mode.BLACKHOLE)
        async with asyncio.TaskGroup() as calls:
            flooding = calls.create_task(flood.call(batch(500), FLOOD, path=LOG_EVENTS))
            refused = await until_refused(more_flood, FLOOD)
            being_polite = calls.create_task(polite.call(batch(30), POLITE, path=LOG_EVENTS))
            await proxy.switch(Mode.PASS)

        found = assert_error(refused, "resource_exhausted", retryable=True)
        assert found.retry_info is not None
        assert b"of this caller" in refused.body
        assert all("logged" in outcome for outcome in being_polite.result().json()["outcomes"])
        outcomes = flooding.result().json()["outcomes"]
        errors = [outcome["error"] for outcome in outcomes if "error" in outcome]
        assert 0 < len(errors) < len(outcomes)
        assert {error["code"] for error in errors} == {"resource_exhausted"}
        assert all("of this caller" in error["message"] and "retryInfo" in error for error in errors)


async def test_a_lone_event_is_not_written_behind_anothers_batches(environment: dict[str, str]) -> None:
    async with (
        tcp_proxy(environment["SPANNER_EMULATOR_HOST"]) as proxy,
        running_ingress(
            environment | ONE_AT_A_TIME, SPANNER_EMULATOR_HOST=proxy.address, COMMIT_QUEUE_ROWS="1600"
        ) as ingress,
        connection(ingress.port) as flood,
        connection(ingress.port) as more_flood,
        connection(ingress.port) as polite,
        open_store(environment) as store,
    ):
        for caller, headers in ((flood, FLOOD), (polite, POLITE)):
            assert (await caller.call(batch(1, "before"), headers, path=LOG_EVENTS)).status == 200
        await proxy.switch(Mode.BLACKHOLE)
        async with asyncio.TaskGroup() as calls:
            calls.create_task(flood.call(batch(500), FLOOD, path=LOG_EVENTS))
            calls.create_task(more_flood.call(batch(500), FLOOD, path=LOG_EVENTS))
            async with connection(ingress.port) as last_flood:
                await until_refused(last_flood, FLOOD)
            being_polite = calls.create_task(polite.call({"event_name": "polite"}, POLITE))
            await proxy.switch(Mode.PASS)

        assert being_polite.result().status == 200
        names = [row["event_name"] for row in await store.rows("e.event_name != 'before'")]
        assert len(names) >= 600
        # It came when a commit was under way, and is in the next one or, where it came late, in the one after.
        assert names.index("polite") < 4 * 64


async def test_of_a_floods_batches_only_those_are_begun_whose_events_have_room_to_wait(
    environment: dict[str, str],
) -> None:
    async with (
        tcp_proxy(environment["SPANNER_EMULATOR_HOST"]) as proxy,
        running_ingress(environment | ONE_AT_A_TIME, SPANNER_EMULATOR_HOST=proxy.address) as ingress,
        AsyncExitStack() as opened,
    ):
        polite, *flood = [await opened.enter_async_context(connection(ingress.port)) for _ in range(25)]
        for caller, headers in ((flood[0], FLOOD), (polite, POLITE)):
            assert (await caller.call(batch(1, "before"), headers, path=LOG_EVENTS)).status == 200
        await proxy.switch(Mode.BLACKHOLE)
        calls = [asyncio.create_task(caller.call(batch(400), FLOOD, path=LOG_EVENTS)) for caller in flood]
        for answered in islice(asyncio.as_completed(calls), len(calls) - BEGUN):
            answer = await answered
            assert_error(answer, "resource_exhausted", retryable=True)
            assert b"of this caller" in answer.body

        begun = [call for call in calls if not call.done()]
        assert len(begun) == BEGUN
        for call in begun:
            call.cancel()


async def test_where_a_limit_is_set_each_caller_has_it_for_itself(environment: dict[str, str]) -> None:
    async with (
        running_ingress(environment, CALLER_EVENTS_PER_SECOND="0.01") as ingress,
        connection(ingress.port) as caller,
    ):
        assert (await caller.call(batch(20), FLOOD, path=LOG_EVENTS)).status == 200
        for path, body in ((LOG_EVENTS, batch(1)), ("/events.v1.EventLoggingService/LogEvent", {"event_name": "one"})):
            refused = await caller.call(body, FLOOD, path=path)
            assert_error(refused, "resource_exhausted", retryable=True)
            assert b"of this caller" in refused.body

        assert (await caller.call({"event_name": "polite"}, POLITE)).status == 200
        assert (await caller.call({"event_name": "anonymous"}, JSON)).status == 200
        assert_error(await caller.call({"event_name": "anonymous"}, JSON), "resource_exhausted", retryable=True)


class Order:
    """What comes to the application and what it answers, in the order of its event loop: no socket is in between."""

    def __init__(self) -> None:
        self.arrived: list[bytes] = []
        self.answered: list[bytes] = []
        self.answered_before_polite = 0

    def around(self, app: AsgiApp) -> AsgiApp:
        async def looked_at(scope: Any, receive: Any, send: Any) -> None:
            caller = dict(scope.get("headers", ())).get(b"authorization", b"")
            self.arrived.append(caller)
            if caller == POLITE["authorization"].encode():
                self.answered_before_polite = len(self.answered)

            async def send_and_note(message: Any) -> None:
                if message["type"] == "http.response.start":
                    self.answered.append(caller)
                await send(message)

            await app(scope, receive, send_and_note)

        return looked_at


async def test_a_lone_event_is_answered_before_batches_that_came_first(environment: dict[str, str]) -> None:
    order = Order()
    async with running_ingress(environment, around=order.around) as ingress, AsyncExitStack() as opened:
        polite, *flood = [await opened.enter_async_context(connection(ingress.port)) for _ in range(21)]
        assert (await polite.call({"event_name": "before"}, POLITE)).status == 200
        # Refused one by one: no commit, only work for the event loop; not so much that a call of the flood gives up.
        body = {"events": [{"event_name": "", "metadata": {f"key {key}": key for key in range(20)}}] * 80}
        order.answered.clear()

        async def flooding(caller: Connection) -> None:
            assert (await caller.call(body, FLOOD, path=LOG_EVENTS)).status == 200

        async with asyncio.TaskGroup() as calls:
            for caller in flood:
                calls.create_task(flooding(caller))
            while not order.answered:
                await asyncio.sleep(0)
            assert (await polite.call({"event_name": "polite"}, POLITE)).status == 200
            meanwhile = order.answered.index(POLITE["authorization"].encode()) - order.answered_before_polite
            left = len(flood) - order.answered_before_polite

        assert left > 10, "most batches were answered before the lone event came: nothing was shown"
        assert meanwhile <= 5
