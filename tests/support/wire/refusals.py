"""Requests that must be refused, and the checks of every refusal on the wire."""

import base64
import json
import math
from dataclasses import dataclass, field
from typing import Any, Final

from protobuf.wkt import Struct, Timestamp

from shared.gen.events.v1.event_logging_pb import LogEventRequest
from shared.gen.google.rpc.error_details_pb import BadRequest, RequestInfo, RetryInfo
from tests.support.sample_requests import nested_lists, nested_objects, struct_of_number
from tests.support.wire.http1 import Answer

CANARY: Final = "canary-7d1d0f3c"
"""Part of values only: no answer and no log line may repeat it."""

HTTP_STATUS: Final = {
    "invalid_argument": 400,
    "already_exists": 409,
    "failed_precondition": 400,
    "resource_exhausted": 429,
    "unimplemented": 501,
    "unavailable": 503,
    "deadline_exceeded": 504,
}

Broken = set[tuple[str, str]]
"""Fields and reasons of a BadRequest."""


@dataclass(frozen=True)
class Refusal:
    """One event that breaks rules, in both codecs."""

    request: LogEventRequest | bytes
    broken: Broken
    json: bytes | None = None
    """The JSON body, where it is not the JSON form of the request."""

    json_broken: Broken | None = field(default=None)
    """What is broken in JSON, where its codec refuses the body earlier."""

    @property
    def as_json(self) -> bytes:
        if self.json is not None:
            return self.json
        assert isinstance(self.request, LogEventRequest)
        return self.request.to_json().encode()

    @property
    def as_binary(self) -> bytes:
        return self.request if isinstance(self.request, bytes) else self.request.to_binary()


def _event(metadata: dict[str, Any] | Struct | None = None, **fields: Any) -> LogEventRequest:
    struct = Struct.from_python(metadata) if isinstance(metadata, dict) else metadata
    usual = {"event_name": f"name {CANARY}", "actor_id": CANARY, "metadata": struct}
    return LogEventRequest(**(usual | fields))


def _json(text: str) -> bytes:
    return ('{"event_name":"' + CANARY + '",' + text + "}").encode()


def _of_size(size: int) -> dict[str, str]:
    return {"k": (CANARY * 5000)[: size - len('{"k":""}')]}


_YEAR_ONE: Final = -62_135_596_800
_YEAR_10000: Final = 253_402_300_800
_TYPE_OF_METADATA: Final = {("metadata", "TYPE")}
_NO_TIME: Final = {("event_ts", "RANGE")}
_TYPE_OF_TIME: Final = {("event_ts", "TYPE")}
_FAR_AHEAD: Final = 4_000_000_000

REFUSALS: Final[dict[str, Refusal]] = {
    "no name": Refusal(_event(event_name=""), {("event_name", "REQUIRED")}),
    "a blank name": Refusal(_event(event_name=" \u3000\t"), {("event_name", "REQUIRED")}),
    "a name of zero-width characters": Refusal(_event(event_name="\u200b\ufeff\u2060"), {("event_name", "REQUIRED")}),
    "a name of 257 characters": Refusal(_event(event_name=(CANARY * 20)[:257]), {("event_name", "MAX_LENGTH")}),
    "a name of 4097 characters": Refusal(_event(event_name=(CANARY * 300)[:4097]), {("event_name", "MAX_LEN")}),
    "a type of 129 characters": Refusal(_event(event_type=(CANARY * 20)[:129]), {("event_type", "MAX_LENGTH")}),
    "an actor of 257 characters": Refusal(_event(actor_id=(CANARY * 20)[:257]), {("actor_id", "MAX_LENGTH")}),
    "a key of 129 characters": Refusal(
        _event(idempotency_key=(CANARY * 20)[:129]), {("idempotency_key", "MAX_LENGTH")}
    ),
    "a name with a control character": Refusal(
        _event(event_name=f"{CANARY}\x1b[31m"),
        {("event_name", "NO_CONTROL_CHARACTERS"), ("event_name", "STATSIG_NAME")},
    ),
    "a name that Statsig drops, to be forwarded": Refusal(
        _event(event_name=f"a;b {CANARY}", forward_to_statsig=True), {("event_name", "STATSIG_NAME")}
    ),
    "a name that Statsig drops, by default": Refusal(
        _event(event_name=f"50% {CANARY}"), {("event_name", "STATSIG_NAME")}
    ),
    "metadata of 65,537 bytes": Refusal(_event(_of_size(65_537)), {("metadata", "MAX_BYTES")}),
    "101 top-level keys": Refusal(_event({f"{CANARY}{n}": n for n in range(101)}), {("metadata", "MAX_KEYS")}),
    "the reserved key": Refusal(_event({"_eventLog": {"caller": CANARY}}), {("metadata._eventLog", "RESERVED")}),
    "NaN": Refusal(
        _event(struct_of_number(math.nan)), {("metadata", "FINITE")}, _json('"metadata":{"n":NaN}'), _TYPE_OF_METADATA
    ),
    "an infinity": Refusal(
        _event(struct_of_number(math.inf)),
        {("metadata", "FINITE")},
        _json('"metadata":{"n":Infinity}'),
        _TYPE_OF_METADATA,
    ),
    "a number beyond doubles": Refusal(
        _event(struct_of_number(-math.inf)), {("metadata", "FINITE")}, _json('"metadata":{"n":-1e400}')
    ),
    "NUL in a value": Refusal(_event({"k": f"{CANARY}\x00"}), {("metadata", "NO_NUL")}),
    "NUL in a key": Refusal(_event({"k\x00": CANARY}), {("metadata", "NO_NUL")}),
    "NUL in the name": Refusal(_event(event_name=f"{CANARY}\x00"), {("event_name", "NO_CONTROL_CHARACTERS")}),
    "33 levels of objects": Refusal(_event(nested_objects(33)), {("metadata", "MAX_NESTING")}),
    "33 levels of lists": Refusal(_event(nested_lists(33)), {("metadata", "MAX_NESTING")}),
    "40 levels of objects": Refusal(_event(nested_objects(40)), {("metadata", "MAX_NESTING")}),
    "48 levels of objects": Refusal(_event(nested_objects(48)), {("metadata", "MAX_NESTING")}),
    "the year 0000": Refusal(
        _event(event_ts=Timestamp(seconds=_YEAR_ONE - 1)),
        _NO_TIME,
        _json('"event_ts":"0000-12-31T23:59:59Z"'),
        _TYPE_OF_TIME,
    ),
    "the year 10000": Refusal(
        _event(event_ts=Timestamp(seconds=_YEAR_10000)),
        _NO_TIME,
        _json('"event_ts":"10000-01-01T00:00:00Z"'),
        _TYPE_OF_TIME,
    ),
    "nanoseconds below zero": Refusal(
        _event(event_ts=Timestamp(seconds=5, nanos=-1)),
        _NO_TIME,
        _json('"event_ts":"1970-01-01T00:00:05.-1Z"'),
        _TYPE_OF_TIME,
    ),
    "a number for the name": Refusal(
        b"\x0a\x01\xff",
        set(),
        b'{"event_name":5,"metadata":{"k":"' + CANARY.encode() + b'"}}',
        {("event_name", "TYPE")},
    ),
    "a time far ahead": Refusal(_event(event_ts=Timestamp(seconds=_FAR_AHEAD)), {("event_ts", "NOT_IN_FUTURE")}),
    "several broken rules": Refusal(
        _event({"_eventLog": CANARY}, event_name=" ", event_type=(CANARY * 20)[:129]),
        {("event_name", "REQUIRED"), ("event_type", "MAX_LENGTH"), ("metadata._eventLog", "RESERVED")},
    ),
}


@dataclass(frozen=True)
class Details:
    bad_request: BadRequest | None = None
    request_info: RequestInfo | None = None
    retry_info: RetryInfo | None = None

    @property
    def broken(self) -> Broken:
        violations = self.bad_request.field_violations if self.bad_request else []
        return {(violation.field, violation.reason) for violation in violations}


def details(body: dict[str, Any]) -> Details:
    found: dict[str, Any] = {}
    for detail in body.get("details", []):
        kind = detail["type"]
        raw = base64.b64decode(detail["value"] + "=" * (-len(detail["value"]) % 4))
        match kind:
            case "google.rpc.BadRequest":
                found["bad_request"] = BadRequest.from_binary(raw)
            case "google.rpc.RequestInfo":
                found["request_info"] = RequestInfo.from_binary(raw)
            case "google.rpc.RetryInfo":
                found["retry_info"] = RetryInfo.from_binary(raw)
            case _:
                raise AssertionError(f"an unexpected detail: {kind}")
    return Details(**found)


def assert_error(answer: Answer, code: str, *, retryable: bool = False) -> Details:
    """Checks what every error with a Connect code must have."""
    assert answer.headers["content-type"] == "application/json"
    body = json.loads(answer.body)
    assert (body["code"], answer.status) == (code, HTTP_STATUS[code])
    assert 0 < len(body["message"]) <= 200
    assert CANARY.encode() not in answer.body
    found = details(body)
    assert found.request_info is not None, "every error carries a RequestInfo (proto/)"
    assert found.request_info.request_id == answer.headers["x-request-id"]
    assert (found.retry_info is not None) == retryable
    for name, _ in found.broken:
        assert name in body["message"] or body["message"].endswith("…")
    return found
