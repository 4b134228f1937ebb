"""LogEvents calls of the largest size, as raw JSON, which costs the client next to nothing."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import anyio
import pyqwest

from tests.faults.client import OK, Attempt

BODY_BYTES: Final = 4 * 1024 * 1024
"""MAX_REQUEST_BYTES."""

METADATA_BYTES: Final = 16_384
"""A quarter of what is allowed: the reconciler reads 200 rows at once, and the Spanner client's channel to an emulator,
unlike that to Google, accepts at most 4 MiB in an answer."""

DEADLINE_SECONDS: Final = 30.0
"""Cloud Run's timeout of a call, as deployed."""

_BROKEN: Final = (OSError, pyqwest.ReadError, pyqwest.WriteError, pyqwest.RemoteProtocolError)

Metadata = Mapping[str, Any]


def long_text() -> Metadata:
    """The cheapest metadata of that size: a single value."""
    return {"text": "x" * (METADATA_BYTES - 100)}


@dataclass(frozen=True, slots=True)
class LargeCall:
    keys: list[str]
    body: bytes


def large_call(prefix: str, metadata: Metadata) -> LargeCall:
    """A call with as many events as fit, each with its own key."""
    filling = json.dumps(metadata, separators=(",", ":")).encode()
    size = len(_event(f"{prefix}-000", filling)) + 1
    keys = [f"{prefix}-{number}" for number in range((BODY_BYTES - 100) // size)]
    body = b'{"events":[' + b",".join(_event(key, filling) for key in keys) + b"]}"
    assert BODY_BYTES - 2 * size < len(body) <= BODY_BYTES
    return LargeCall(keys, body)


def _event(key: str, metadata: bytes) -> bytes:
    fields = {"eventName": "fault_lab_large", "actorId": key, "idempotencyKey": key}
    return json.dumps(fields).encode()[:-1] + b', "metadata":' + metadata + b"}"


async def send(url: str, call: LargeCall) -> list[Attempt]:
    """Send the call, and return an attempt for each of its events; failures of service or network are their code."""
    sent_at = time.time()
    headers = {
        "content-type": "application/json",
        "connect-protocol-version": "1",
        "connect-timeout-ms": f"{DEADLINE_SECONDS * 1000:.0f}",
    }
    answers = [("unavailable", "")] * len(call.keys)
    answered = False
    with anyio.move_on_after(DEADLINE_SECONDS + 1) as patience:
        try:
            response = await pyqwest.Client().post(
                f"{url}/events.v1.EventLoggingService/LogEvents", headers=headers, content=call.body
            )
            answers, answered = _answers(response.status, json.loads(response.content), len(call.keys)), True
        except _BROKEN:
            # As the lab's other client records a broken connection.
            pass
    if patience.cancelled_caught:
        answers = [("deadline_exceeded", "")] * len(call.keys)
    done_at = time.time()
    return [
        Attempt(key, 1, sent_at, done_at, DEADLINE_SECONDS, code, event_id, duplicate=False, answered=answered)
        for key, (code, event_id) in zip(call.keys, answers, strict=True)
    ]


def _answers(status: int, answer: Any, events: int) -> list[tuple[str, str]]:
    if status != 200:
        return [(answer["code"], "")] * events
    return [
        (OK, outcome["logged"]["eventId"]) if "logged" in outcome else (outcome["error"]["code"], "")
        for outcome in answer["outcomes"]
    ]
