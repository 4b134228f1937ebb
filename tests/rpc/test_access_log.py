"""The access log, read as data: one line a call, and nothing that callers sent."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.rpc.test_callers import ALICE, bearer
from tests.support.wire.http1 import JSON, LOG_EVENTS, PROTO, connection
from tests.support.wire.ingress import Ingress, LogLines, captured_log
from tests.support.wire.refusals import CANARY, REFUSALS

pytestmark = [pytest.mark.emulators, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(loop_scope="module")
async def log(ingress: Ingress) -> AsyncIterator[LogLines]:
    """Everything down to DEBUG, the libraries' lines included."""
    assert ingress.port
    with captured_log("DEBUG") as lines:
        yield lines


async def test_a_call_is_one_line(ingress: Ingress, log: LogLines) -> None:
    async with connection(ingress.port) as caller:
        answer = await caller.call({"event_name": "logged"}, JSON | {"authorization": bearer(ALICE)})

    (line,) = log.lines("rpc")
    assert line["latency_ms"] > 0
    assert (
        line.items()
        >= {
            "severity": "INFO",
            "method": "LogEvent",
            "code": "ok",
            "event_id": answer.json()["eventId"],
            "duplicate": False,
            "caller": ALICE,
            "caller_source": "unverified_token",
            "request_id": answer.headers["x-request-id"],
        }.items()
    )


@pytest.mark.parametrize(
    ("body", "headers", "expected"),
    [
        (b'{"event_name":" "}', JSON, ("invalid_argument", "invalid_event")),
        (b"{", JSON, ("invalid_argument", "malformed_request")),
        (b"\xff", PROTO, ("invalid_argument", "malformed_request")),
        (b" " * 300_000, JSON, ("invalid_argument", "request_too_large")),
        (b'{"event_name":"a"}', JSON | {"connect-timeout-ms": "0"}, ("deadline_exceeded", "connect")),
        (b'{"event_name":"a"}', JSON | {"content-encoding": "br"}, ("unimplemented", "connect")),
    ],
)
async def test_a_refused_call_is_one_line_with_its_code(
    ingress: Ingress, log: LogLines, body: bytes, headers: dict[str, str], expected: tuple[str, str]
) -> None:
    async with connection(ingress.port) as caller:
        answer = await caller.call(body, headers)

    (line,) = log.lines("rpc")
    assert (line["method"], line["code"], line["reason"]) == ("LogEvent", *expected)
    assert line["request_id"] == answer.headers["x-request-id"]
    assert "event_id" not in line


async def test_a_batch_is_one_line_with_counts(ingress: Ingress, log: LogLines) -> None:
    good, bad = {"event_name": "a", "forward_to_statsig": False}, {"event_name": " "}
    async with connection(ingress.port) as caller:
        await caller.call({"events": [good, bad, good, bad, good]}, path=LOG_EVENTS)

    (line,) = log.lines("rpc")
    assert line.items() >= {"method": "LogEvents", "code": "ok", "events": 5, "refused": {"invalid_event": 2}}.items()


async def test_no_line_holds_anything_that_a_caller_sent(ingress: Ingress, log: LogLines) -> None:
    fields = {
        "event_name": f"name {CANARY}",
        "event_type": CANARY,
        "actor_id": CANARY,
        "idempotency_key": CANARY,
        "metadata": {CANARY: CANARY, "dump": CANARY * 500, "value": CANARY * 10},
    }
    headers = JSON | {
        "authorization": f"Bearer {CANARY}",
        "x-serverless-authorization": bearer("canary 7d1d0f3c"),
        "x-goog-iap-jwt-assertion": CANARY,
        "x-goog-authenticated-user-email": f"accounts.google.com:<{CANARY}>",
        "user-agent": CANARY,
        "x-request-id": CANARY,
        "traceparent": CANARY,
        "connect-protocol-version": "1",
    }
    async with connection(ingress.port) as caller:
        assert (await caller.call(fields, headers)).status == 200
        assert (await caller.call(fields, headers)).json()["duplicate"] is True
        assert (await caller.call(fields | {"actor_id": f"other {CANARY}"}, headers)).status == 409
        assert (
            await caller.call({"events": [fields, fields | {"event_name": ""}]}, headers, path=LOG_EVENTS)
        ).status == 200
        for refusal in REFUSALS.values():
            await caller.call(refusal.as_json, headers)
            await caller.call(refusal.as_binary, headers | PROTO)
        await caller.call(CANARY.encode(), headers)
        await caller.call(b'{"event_ts":"' + CANARY.encode() + b'"}', headers)
    async with connection(ingress.port) as caller:
        await caller.call(fields, headers | {"connect-timeout-ms": CANARY})
        await caller.call(fields, headers | {"content-encoding": CANARY})

    assert len(log.lines("rpc")) >= 4 + 2 * len(REFUSALS) + 2
    assert CANARY not in log.text
    assert [line for line in log.lines() if line["severity"] == "ERROR"] == []
