"""The loads of one caller while another one is measured."""

import enum
import gzip
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tests.bench.bodies import LOG_EVENT, LOG_EVENTS, usual_event

LARGEST_BODY: Final = 4 * 1024 * 1024
"""The largest body of a request, also after decompression."""


class Manner(enum.Enum):
    CALLING = "sends one request after the other, and waits for each answer only"
    HALF_OPEN = "sends half a head, and nothing more"
    STALLED = "sends all but the last byte, and nothing more"
    UNREAD = "sends requests, and reads no answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class FloodLoad:
    name: str
    connections: int
    body: Callable[[], bytes]
    manner: Manner = Manner.CALLING
    path: str = LOG_EVENT
    headers: Mapping[str, str] = field(default_factory=dict)


def _filled(around: str, piece: str, size: int = LARGEST_BODY) -> bytes:
    """`around`, its $ replaced by as many pieces, separated by commas, as fit."""
    start, _, end = around.partition("$")
    pieces = (size - len(around)) // (len(piece) + 1)
    return (start + ",".join([piece] * pieces) + end).encode()


def _list_of(piece: str) -> bytes:
    return _filled('{"eventName":"flood","metadata":{"a":[$]}}', piece)


def _text() -> bytes:
    return _filled('{"eventName":"flood","metadata":{"a":"$"}}', "x" * 1023)


def _event() -> bytes:
    return json.dumps(usual_event()).encode()


def _batch() -> bytes:
    return json.dumps({"events": [usual_event()] * 500}).encode()


def _refused_batch() -> bytes:
    """A batch whose events are all refused for several reasons: the answer is larger than the request."""
    long = "y" * 400
    event: dict[str, Any] = {"eventName": "\u0001" + long, "eventType": long, "actorId": long, "idempotencyKey": long}
    return json.dumps({"events": [event] * 500}).encode()


def _dense_bomb() -> bytes:
    return gzip.compress(_list_of("{}"), 9)


def _many_members() -> bytes:
    """A good event after as many empty gzip members as fit into a body."""
    empty = gzip.compress(b"", 9)
    good = gzip.compress(_event(), 9)
    return empty * ((LARGEST_BODY - len(good)) // len(empty)) + good


_GZIP: Final = {"content-encoding": "gzip"}

LOADS: Final = (
    FloodLoad(name="128 connections of single events", connections=128, body=_event),
    FloodLoad(name="128 connections of 500-event batches", connections=128, body=_batch, path=LOG_EVENTS),
    FloodLoad(name="64 x 4 MiB of `[{},...]`", connections=64, body=lambda: _list_of("{}")),
    FloodLoad(name="64 x 4 MiB of `[1,...]`", connections=64, body=lambda: _list_of("1")),
    FloodLoad(name="64 x 4 MiB of text", connections=64, body=_text),
    FloodLoad(name="300 half-open connections", connections=300, body=_event, manner=Manner.HALF_OPEN),
    FloodLoad(name="200 bodies stalled at the last byte", connections=200, body=_text, manner=Manner.STALLED),
    FloodLoad(name="800 bodies stalled at the last byte", connections=800, body=_text, manner=Manner.STALLED),
    FloodLoad(
        name="100 connections that read no answer",
        connections=100,
        body=_refused_batch,
        manner=Manner.UNREAD,
        path=LOG_EVENTS,
    ),
    FloodLoad(name="4 x gzip of `[{},...]`", connections=4, body=_dense_bomb, headers=_GZIP),
    FloodLoad(name="4 x gzip of 200,000 members", connections=4, body=_many_members, headers=_GZIP),
)
"""Every load that is measured."""
