"""Budgets of all calls in flight together: the bytes of their bodies, and the memory that these take decoded.

The size of a body is a poor estimate of that memory: `[{},{},...]` takes more than a hundred times its size decoded
(protobuf-py 0.7: 455 MiB for 4 MiB), long texts two or three times. A limit on bytes alone would be too low for the one
or too high for the other. The difference is the number of values, which a count of separators estimates well enough
before anything is decoded (`Format.weight`).
"""

from typing import Final

from ingress.callers.fair_share import FairShare
from shared.events.json_nesting import without_texts

ROW_VALUE_BYTES: Final = 80
"""Memory of one value of a normalized event, which is a plain Python object: 72 for an empty object in a list."""

MANY_VALUES: Final = 1000
"""Above this estimate texts are left out and the values counted again, which takes a millisecond: a text of 64 KiB of
commas would weigh 5 MB."""

OWN_LOAD: Final = "too much data of this caller is being decoded at once; nothing was written"
WHOLE_LOAD: Final = "too much data is being decoded at once; nothing was written"
OWN_BODIES: Final = "too many bytes of this caller's requests are in flight; nothing was written"
ALL_BODIES: Final = "too many bytes of requests are in flight; nothing was written"


def row_weight(metadata_json: str) -> int:
    """An estimate of the memory, in bytes, that a row takes while it waits, from the text of its metadata."""
    values = metadata_json.count(",") + metadata_json.count("{") + metadata_json.count("[")
    if values > MANY_VALUES:
        structure = without_texts(metadata_json.encode())
        values = structure.count(b",") + structure.count(b"{") + structure.count(b"[")
    return len(metadata_json) + ROW_VALUE_BYTES * values


class _Budget:
    """A limit in bytes on all calls in flight together, shared among callers. For the event loop's thread."""

    def __init__(self, limit_bytes: int, *, own: str, whole: str) -> None:
        self._share = FairShare(limit_bytes)
        self._own = own
        self._whole = whole

    def take(self, caller: str, weight: int) -> None:
        """Take so many bytes for this caller, which must `release` them.

        With nothing in flight any body is admitted; otherwise one above the limit never would be.

        Raises:
            CallerOverloadedError: this caller has taken its share; nothing was taken now.
            OverloadedError: all callers together have taken too much; nothing was taken now.
        """
        refusal = self._share.refusal(caller, weight, own=self._own, whole=self._whole)
        if refusal is not None:
            raise refusal
        self._share.take(caller, weight)

    def release(self, caller: str, weight: int) -> None:
        self._share.release(caller, weight)


class DecodingBudget(_Budget):
    """The budget of the memory that bodies take decoded, by `Format.weight`."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(limit_bytes, own=OWN_LOAD, whole=WHOLE_LOAD)


class BodyBudget(_Budget):
    """The budget of the bytes of bodies, from the first one that arrives to the end of the call."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(limit_bytes, own=OWN_BODIES, whole=ALL_BODIES)
