"""How much may be in flight at once: bytes of bodies, and what they are decoded to by the memory that it takes.

Bytes that arrive tell little of the latter: a body of `[{},{},...]` takes more than a hundred times its size once it is
decoded (protobuf-py 0.7: 455 MiB for 4 MiB), one of long texts two or three times. A limit on bytes alone is either too
low for the one or too high for the other. What makes the difference is how many values there are, which a count of
separators tells well enough and at once, before anything is decoded (`Format.weight`).
"""

from typing import Final

from ingress.callers.fair_share import FairShare
from shared.events.json_nesting import without_texts

ROW_VALUE_BYTES: Final = 80
"""Of a normalized event, whose values are Python's own: 72 for an empty object in a list."""

MANY_VALUES: Final = 1000
"""From here on it is worth a look at what is text: 64 KiB of commas would weigh 5 MB. It takes a millisecond."""

OWN_LOAD: Final = "too much of this caller is being decoded at once; nothing was written"
WHOLE_LOAD: Final = "too much is being decoded at once; nothing was written"
OWN_BODIES: Final = "too many bytes of this caller's requests are in flight; nothing was written"
ALL_BODIES: Final = "too many bytes of requests are in flight; nothing was written"


def row_weight(metadata_json: str) -> int:
    """Bytes that a row takes while it waits, from the text of its metadata."""
    values = metadata_json.count(",") + metadata_json.count("{") + metadata_json.count("[")
    if values > MANY_VALUES:
        structure = without_texts(metadata_json.encode())
        values = structure.count(b",") + structure.count(b"{") + structure.count(b"[")
    return len(metadata_json) + ROW_VALUE_BYTES * values


class _Budget:
    """What all calls in flight may take together, shared among callers. For the event loop's thread."""

    def __init__(self, limit_bytes: int, *, own: str, whole: str) -> None:
        self._share = FairShare(limit_bytes)
        self._own = own
        self._whole = whole

    def take(self, caller: str, weight: int) -> None:
        """Take so much for this caller, which is to be given back.

        Raises:
            OverloadedError: too much is taken already, or CallerOverloadedError: by this caller.
        """
        # Whatever it weighs, a body alone is let in: else it never could be.
        refusal = self._share.refusal(caller, weight, own=self._own, whole=self._whole)
        if refusal is not None:
            raise refusal
        self._share.take(caller, weight)

    def release(self, caller: str, weight: int) -> None:
        self._share.release(caller, weight)


class DecodingBudget(_Budget):
    """Of what bodies take once they are decoded."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(limit_bytes, own=OWN_LOAD, whole=WHOLE_LOAD)


class BodyBudget(_Budget):
    """Of the bytes of bodies as they arrive, from the first one to the end of the call."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(limit_bytes, own=OWN_BODIES, whole=ALL_BODIES)
