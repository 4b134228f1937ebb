"""deploy/clients/event_logging_client.py, against the real ingress on emulators."""

import asyncio
import base64
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from connectrpc.code import Code
from connectrpc.errors import ConnectError
from connectrpc_otel import OpenTelemetryInterceptor
from opentelemetry.sdk.trace import TracerProvider
from protobuf.wkt import Duration

from deploy.clients.event_logging_client import EventLog, IdToken, seconds_before_retry
from shared.gen.google.rpc.error_details_pb import RequestInfo, RetryInfo
from tests.support.telemetry import MemoryTelemetry
from tests.support.wire.ingress import captured_log, open_store, running_ingress
from tests.support.wire.tcp_proxy import Mode, tcp_proxy

BUDGET = {"COMMIT_TIMEOUT_SECONDS": "0.4", "PUBLISH_TIMEOUT_SECONDS": "0.3"}

emulators = pytest.mark.emulators


def jwt(**claims: Any) -> str:
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"e30.{payload}."


async def token() -> str:
    return jwt(email="shop@example.com", exp=time.time() + 3600)


@emulators
async def test_an_event_arrives_with_its_fields_and_its_caller(environment: dict[str, str]) -> None:
    async with (
        running_ingress(environment) as ingress,
        open_store(environment) as store,
        EventLog(ingress.url, token=token) as events,
    ):
        at = datetime(2026, 1, 2, 3, 4, 5, 678_901, UTC)
        event_id = await events.log("order_paid", metadata={"value": 12.5}, actor_id="user-17", event_ts=at)
        row = await store.row(event_id)

    assert (row["event_name"], row["actor_id"], row["event_ts"]) == ("order_paid", "user-17", at)
    assert row["metadata"]["value"] == 12.5
    assert row["metadata"]["_eventLog"]["caller"]["principal"] == "shop@example.com"


@emulators
async def test_an_event_continues_the_callers_trace(environment: dict[str, str]) -> None:
    caller, telemetry = TracerProvider(), MemoryTelemetry().telemetry
    async with (
        running_ingress(environment, telemetry=telemetry) as ingress,
        open_store(environment) as store,
        EventLog(
            ingress.url,
            token=token,
            interceptors=[OpenTelemetryInterceptor(client=True, tracer_provider=caller)],
        ) as events,
    ):
        with caller.get_tracer("shop").start_as_current_span("order paid") as span:
            event_id = await events.log("order_paid")
        row = await store.row(event_id)

    trace_id = f"{span.get_span_context().trace_id:032x}"
    assert row["metadata"]["_eventLog"]["traceparent"].split("-")[1] == trace_id


@emulators
@pytest.mark.parametrize("mode", [Mode.REFUSE, Mode.DROP_RESPONSE])
async def test_it_outlasts_an_outage_of_spanner_and_logs_one_event(environment: dict[str, str], mode: Mode) -> None:
    async with (
        tcp_proxy(environment["SPANNER_EMULATOR_HOST"]) as proxy,
        running_ingress(environment | BUDGET, SPANNER_EMULATOR_HOST=proxy.address) as ingress,
        open_store(environment) as store,
        EventLog(ingress.url, token=token) as events,
    ):
        await events.log("before")
        with captured_log() as log:
            await proxy.switch(mode)
            logging = asyncio.create_task(events.log("outage"))
            await until(lambda: bool(log.lines("rpc")))
            await proxy.switch(Mode.PASS)
            event_id = await logging
        codes = [line["code"] for line in log.lines("rpc")]
        rows = await store.rows("e.event_name = 'outage'")

    assert set(codes[:-1]) == {"unavailable"}
    assert codes[-1] == "ok"
    assert [row["event_id"] for row in rows] == [event_id]


@emulators
@pytest.mark.parametrize("mode", [Mode.REFUSE, Mode.RESET])
async def test_it_outlasts_an_ingress_that_is_away(environment: dict[str, str], mode: Mode) -> None:
    async with (
        running_ingress(environment) as ingress,
        tcp_proxy(f"127.0.0.1:{ingress.port}") as proxy,
        open_store(environment) as store,
        EventLog(f"http://{proxy.address}", token=token) as events,
    ):
        await events.log("before")
        await proxy.switch(mode)
        logging = asyncio.create_task(events.log("outage"))
        done, _ = await asyncio.wait([logging], timeout=0.3)
        assert not done
        await proxy.switch(Mode.PASS)
        event_id = await logging
        rows = await store.rows("e.event_name = 'outage'")

    assert [row["event_id"] for row in rows] == [event_id]


@emulators
async def test_a_lost_answer_costs_no_second_event(environment: dict[str, str]) -> None:
    async with (
        running_ingress(environment) as ingress,
        tcp_proxy(f"127.0.0.1:{ingress.port}") as proxy,
        open_store(environment) as store,
        EventLog(f"http://{proxy.address}", token=token, attempt_seconds=0.5) as events,
    ):
        await events.log("before")
        await proxy.switch(Mode.DROP_RESPONSE)
        logging = asyncio.create_task(events.log("outage"))
        (row,) = await until_rows(store.rows)
        await proxy.switch(Mode.PASS)
        event_id = await logging
        rows = await store.rows("e.event_name = 'outage'")

    assert [each["event_id"] for each in rows] == [row["event_id"]] == [event_id]


@emulators
async def test_what_cannot_succeed_is_sent_once(environment: dict[str, str]) -> None:
    async with running_ingress(environment) as ingress, EventLog(ingress.url, token=token) as events:
        with captured_log() as log, pytest.raises(ConnectError) as raised:
            await events.log(" ")

    assert raised.value.code is Code.INVALID_ARGUMENT
    assert len(log.lines("rpc")) == 1


@emulators
async def test_a_given_key_is_used(environment: dict[str, str]) -> None:
    async with running_ingress(environment) as ingress, EventLog(ingress.url, token=token) as events:
        first = await events.log("order_paid", idempotency_key="order-4711")
        assert await events.log("order_paid", idempotency_key="order-4711") == first
        assert await events.log("order_paid") != first


async def test_patience_ends() -> None:
    async with EventLog("http://127.0.0.1:1", token=token, patience_seconds=0.5) as events:
        started = time.monotonic()
        with pytest.raises(ConnectError) as raised:
            await events.log("nobody_there")

    assert raised.value.code is Code.UNAVAILABLE
    assert time.monotonic() - started < 1


@pytest.mark.parametrize(
    ("code", "retry_after", "least"),
    [
        (Code.UNAVAILABLE, None, 0.1),
        (Code.UNAVAILABLE, 2.0, 2.1),
        (Code.DEADLINE_EXCEEDED, None, 0.1),
        (Code.RESOURCE_EXHAUSTED, 1.5, 1.6),
        (Code.RESOURCE_EXHAUSTED, None, None),
        (Code.INVALID_ARGUMENT, 2.0, None),
        (Code.ALREADY_EXISTS, None, None),
        (Code.INTERNAL, None, None),
        (Code.UNAUTHENTICATED, None, None),
        (Code.PERMISSION_DENIED, None, None),
    ],
)
def test_what_is_retried_and_when(code: Code, retry_after: float | None, least: float | None) -> None:
    details: list[Any] = [RequestInfo(request_id="r")]
    if retry_after is not None:
        seconds, fraction = divmod(retry_after, 1)
        details.append(RetryInfo(retry_delay=Duration(seconds=int(seconds), nanos=int(fraction * 1e9))))
    wait = seconds_before_retry(ConnectError(code, "text", details), 0)

    if least is None:
        assert wait is None
    else:
        assert wait is not None
        assert least <= wait <= least + 0.1


def test_waits_grow_to_a_limit_and_differ() -> None:
    error = ConnectError(Code.UNAVAILABLE, "text")
    waits = [seconds_before_retry(error, attempt) or 0 for attempt in range(10)]
    assert waits[4] > 5 * waits[0]
    assert max(waits) <= 5.0
    assert seconds_before_retry(error, 3) != seconds_before_retry(error, 3)


async def test_a_token_is_kept_until_shortly_before_it_expires() -> None:
    clock = [1000.0]
    fetched: list[str] = []

    def fetch(audience: str) -> str:
        fetched.append(audience)
        return jwt(exp=clock[0] + 3600, serial=len(fetched))

    tokens = IdToken("https://ingress", fetch=fetch, now=lambda: clock[0])
    first = await asyncio.gather(*(tokens() for _ in range(10)))
    clock[0] += 3600 - 301
    assert {await tokens(), *first} == {first[0]}
    clock[0] += 2
    assert await tokens() != first[0]
    assert fetched == ["https://ingress"] * 2


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def until_rows(rows: Callable[[str], Any]) -> list[dict[str, Any]]:
    async with asyncio.timeout(10):
        while not (found := await rows("e.event_name = 'outage'")):
            await asyncio.sleep(0.02)
    result: list[dict[str, Any]] = found
    return result
