"""The events of calls are counted, each by its own code, also where the call itself is answered with ok."""

import json
from collections.abc import Mapping

import pytest

from shared.telemetry.metrics import CALL_EVENTS
from tests.support.telemetry import MemoryTelemetry
from tests.support.wire.http1 import JSON, LOG_EVENT, LOG_EVENTS, connection
from tests.support.wire.ingress import running_ingress
from tests.support.wire.tcp_proxy import Mode, tcp_proxy

pytestmark = pytest.mark.emulators

GOOD = {"event_name": "counted", "forward_to_statsig": False}
BAD = {"event_name": " "}
KEYED = GOOD | {"idempotency_key": "k"}


@pytest.fixture
def memory() -> MemoryTelemetry:
    return MemoryTelemetry()


def counted(memory: MemoryTelemetry) -> dict[tuple[str, str], float]:
    return {(attributes["method"], attributes["code"]): value for attributes, value in memory.points(CALL_EVENTS)}


def body(*events: Mapping[str, object]) -> bytes:
    return json.dumps({"events": events}).encode()


async def test_an_event_counts_by_its_own_code(environment: dict[str, str], memory: MemoryTelemetry) -> None:
    async with (
        running_ingress(environment, telemetry=memory.telemetry) as ingress,
        connection(ingress.port) as caller,
    ):
        for event, status in (
            (GOOD, 200),
            (KEYED, 200),
            (KEYED, 200),
            (KEYED | {"actor_id": "other"}, 409),
            (BAD, 400),
        ):
            assert (await caller.call(event)).status == status
        answer = await caller.call(body(GOOD, BAD, KEYED, KEYED | {"actor_id": "other"}, GOOD), path=LOG_EVENTS)
        assert answer.status == 200
        assert (await caller.call(body(BAD, BAD), path=LOG_EVENTS)).status == 200

    assert counted(memory) == {
        ("LogEvent", "ok"): 3,
        ("LogEvent", "already_exists"): 1,
        ("LogEvent", "invalid_argument"): 1,
        ("LogEvents", "ok"): 3,
        ("LogEvents", "already_exists"): 1,
        ("LogEvents", "invalid_argument"): 3,
    }


@pytest.mark.parametrize(
    ("path", "refused", "events"),
    [
        (LOG_EVENT, b"{", 1),
        (LOG_EVENTS, b"{", 1),
        (LOG_EVENTS, body(*[BAD] * 501), 501),
        (LOG_EVENTS, b" " * 2048, 1),
    ],
    ids=["not decoded", "several, not decoded", "too many", "too large"],
)
async def test_a_call_that_is_refused_whole_counts_the_events_that_were_seen(
    environment: dict[str, str], memory: MemoryTelemetry, path: str, refused: bytes, events: int
) -> None:
    limit = "1024" if events == 1 else "1000000"
    async with (
        running_ingress(environment, telemetry=memory.telemetry, MAX_REQUEST_BYTES=limit) as ingress,
        connection(ingress.port) as caller,
    ):
        code = (await caller.call(refused, path=path)).json()["code"]

    assert counted(memory) == {(path.rpartition("/")[2], code): events}


async def test_without_spanner_each_event_counts_as_unavailable_and_as_late_where_nobody_waits_for_it(
    environment: dict[str, str], memory: MemoryTelemetry
) -> None:
    async with (
        tcp_proxy(environment["SPANNER_EMULATOR_HOST"]) as proxy,
        running_ingress(
            environment, telemetry=memory.telemetry, SPANNER_EMULATOR_HOST=proxy.address, COMMIT_TIMEOUT_SECONDS="0.4"
        ) as ingress,
        connection(ingress.port) as caller,
    ):
        await proxy.switch(Mode.BLACKHOLE)
        assert (await caller.call(GOOD)).status == 503
        assert (await caller.call(body(GOOD, BAD, GOOD), path=LOG_EVENTS)).status == 200
        late = await caller.call(body(GOOD, GOOD, GOOD), JSON | {"connect-timeout-ms": "100"}, path=LOG_EVENTS)
        assert late.status == 504

    assert counted(memory) == {
        ("LogEvent", "unavailable"): 1,
        ("LogEvents", "unavailable"): 2,
        ("LogEvents", "invalid_argument"): 1,
        ("LogEvents", "deadline_exceeded"): 3,
    }
