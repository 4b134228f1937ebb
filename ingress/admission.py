"""How much may be decoded at once, by the memory that it takes and not by the bytes that arrive.

A body of `[{},{},...]` takes more than a hundred times its size once it is decoded (protobuf-py 0.7: 455 MiB for
4 MiB), one of long texts two or three times: a limit on bytes is either too low for the one or too high for the other.
What makes the difference is how many values there are, which a count of separators tells well enough and at once,
before anything is decoded.
"""

from contextvars import ContextVar
from typing import Final

from shared.errors import OverloadedError

JSON_VALUE_BYTES: Final = 200
"""What a value adds: measured 186 for a number in a list, 325 for an empty object, which counts twice."""

BINARY_VALUE_BYTES: Final = 360
"""Measured for an empty object in a list. Entries of lists and maps begin with the byte 0x0A (field 1), or with 0x8A
where somebody encodes the field's number longer than need be."""

BINARY_FACTOR: Final = 24
"""The least that a binary body weighs: fields that nobody knows take 22 times their size, and begin with any byte."""

ROW_VALUE_BYTES: Final = 80
"""Of a normalized event, whose values are Python's own: 72 for an empty object in a list."""


def json_weight(body: bytes | bytearray) -> int:
    """Bytes that a JSON body takes decoded. Commas within texts count too: an overestimate, and a small one."""
    return len(body) + JSON_VALUE_BYTES * (body.count(b",") + body.count(b"{") + body.count(b"["))


def binary_weight(body: bytes | bytearray) -> int:
    """As above for binary protobuf; line feeds within texts count too."""
    entries = body.count(b"\n") + body.count(b"\x8a")
    return max(BINARY_FACTOR * len(body), len(body) + BINARY_VALUE_BYTES * entries)


def row_weight(metadata_json: str) -> int:
    """Bytes that a row takes while it waits, from the text of its metadata."""
    values = metadata_json.count(",") + metadata_json.count("{") + metadata_json.count("[")
    return len(metadata_json) + ROW_VALUE_BYTES * values


class DecodingBudget:
    """What all calls in flight may take together. For the event loop's thread."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._taken = 0

    def call(self) -> "Share":
        """A context manager for one call: gives back at the end what the call in between takes."""
        return Share(self)

    def take(self, weight: int) -> None:
        # Whatever it weighs, a body alone is let in: else it never could be.
        if self._taken and self._taken + weight > self._limit_bytes:
            raise OverloadedError("too much is being decoded at once; nothing was written")
        self._taken += weight

    def give_back(self, weight: int) -> None:
        self._taken -= weight


class Share:
    """What one call has taken. Entered once; what is admitted within is its."""

    __slots__ = ("_budget", "_taken", "_token")

    def __init__(self, budget: DecodingBudget) -> None:
        self._budget = budget
        self._taken = 0

    def __enter__(self) -> None:
        self._token = _current.set(self)

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)
        self._budget.give_back(self._taken)

    def take(self, weight: int) -> None:
        self._budget.take(weight)
        self._taken += weight


_current: ContextVar[Share | None] = ContextVar("share", default=None)


def admit(weight: int) -> None:
    """Take so much for the current call, until it ends; outside of one nothing is counted.

    Raises:
        OverloadedError: too much is taken already.
    """
    share = _current.get()
    if share is not None:
        share.take(weight)
