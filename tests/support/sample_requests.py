"""Requests as callers send them, and the rows that normalization makes of them."""

import uuid
from collections.abc import Callable
from typing import Any, Literal

from protobuf import Oneof
from protobuf.wkt import Struct, Value

from ingress.normalization import Defaults, normalize_log_event_request
from shared.errors import InvalidEventError
from shared.events.event import Caller, CallerSource, EventLogRow
from shared.gen.events.v1.event_logging_pb import LogEventRequest
from tests.support.sample_events import NOW

ALICE = Caller("alice@example.com", CallerSource.CLOUD_RUN_IAM)
DEFAULTS = Defaults(forward_to_statsig=True, max_metadata_bytes=65_536)


def sample_request(metadata: dict[str, Any] | Struct | None = None, **fields: Any) -> LogEventRequest:
    struct = Struct.from_python(metadata) if isinstance(metadata, dict) else metadata
    return LogEventRequest(**({"event_name": "order_paid", "metadata": struct} | fields))


def normalize(
    request: LogEventRequest,
    *,
    caller: Caller = ALICE,
    now: int = NOW,
    defaults: Defaults = DEFAULTS,
    traceparent: str | None = None,
    new_uuid: Callable[[], uuid.UUID] = uuid.uuid4,
) -> EventLogRow:
    return normalize_log_event_request(
        request, caller=caller, now_nanos=now, defaults=defaults, traceparent=traceparent, new_uuid=new_uuid
    )


def violations(request: LogEventRequest, *, defaults: Defaults = DEFAULTS) -> list[tuple[str, str]]:
    """The fields and rules that a request breaks; empty where it breaks none."""
    try:
        normalize(request, defaults=defaults)
    except InvalidEventError as error:
        return [(violation.field, violation.rule) for violation in error.violations]
    return []


def struct_of_number(value: float) -> Struct:
    """A Struct with a number that binary protobuf can carry and JSON cannot: NaN or an infinity."""
    kind: Oneof[Literal["number_value"], float] = Oneof(field="number_value", value=value)
    return Struct(fields={"n": Value(kind=kind)})


def nested_objects(levels: int) -> dict[str, Any]:
    value: Any = 1
    for _ in range(levels):
        value = {"k": value}
    result: dict[str, Any] = value
    return result


def nested_lists(levels: int) -> dict[str, Any]:
    """An object with nested lists in it, `levels` deep with the object."""
    value: Any = 1
    for _ in range(levels - 1):
        value = [value]
    return {"k": value}
