"""The metric of warnings and refusals: counted by kind and reason, and never by what a caller chooses."""

import pytest

from shared.telemetry.metrics import COMPLAINTS
from tests.support.telemetry import MemoryTelemetry
from tests.support.wire.http1 import JSON, LOG_EVENT, LOG_EVENTS, connection
from tests.support.wire.ingress import running_ingress

pytestmark = pytest.mark.emulators

CANARY = "canary-77aa"
GOOD = {"event_name": f"{CANARY} name"}
CUT = GOOD | {"metadata": {CANARY: "x" * 5000}}
WIDE = GOOD | {"metadata": {f"{CANARY} {index}": "x" * 500 for index in range(40)}}
CALLER = JSON | {"x-goog-authenticated-user-email": f"accounts.google.com:{CANARY}@example.com"}


async def test_complaints_are_counted_by_kind_and_reason_alone(environment: dict[str, str]) -> None:
    memory = MemoryTelemetry()
    async with (
        running_ingress(environment, telemetry=memory.telemetry, MAX_REQUEST_BYTES="200000") as ingress,
        connection(ingress.port) as caller,
    ):
        for event, status in ((GOOD, 200), (CUT, 200), (WIDE, 200), ({"event_name": CANARY * 30}, 400)):
            assert (await caller.call(event, CALLER)).status == status
        reserved = GOOD | {"metadata": {"_eventLog": CANARY}, "event_type": CANARY * 20}
        assert (await caller.call({"events": [reserved, CUT, GOOD]}, CALLER, path=LOG_EVENTS)).status == 200
        assert (await caller.call(b'{"event_name": 1}', CALLER)).status == 400
        assert (await caller.call({}, JSON | {"content-encoding": CANARY})).status == 501
    async with running_ingress(environment, telemetry=memory.telemetry, MAX_EVENT_BYTES="1024") as ingress:
        for path in (LOG_EVENT, LOG_EVENTS):
            async with connection(ingress.port) as caller:  # which is closed where a body is not read
                large = CUT if path == LOG_EVENT else {"events": [CUT]}
                await caller.call(large, CALLER, path=path)

    assert {(found["kind"], found["reason"]): value for found, value in memory.points(COMPLAINTS)} == {
        ("warning", "metadata.*:statsig_metadata_cut"): 3,
        ("warning", "metadata.*:statsig_metadata_dropped"): 1,
        ("refusal", "event_name:max_length"): 1,
        ("refusal", "event_type:max_length"): 1,
        ("refusal", "metadata.*:reserved"): 1,
        ("refusal", "event_name:type"): 1,
        ("refusal", "connect:unimplemented"): 1,
        ("refusal", "request_too_large"): 2,
    }
    assert CANARY not in str(memory.points(COMPLAINTS))
