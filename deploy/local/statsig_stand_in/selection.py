"""The selection of a rule's requests: those whose batch holds one of certain events; pure."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Final, Self

from pydantic import Field, model_validator

from deploy.local.statsig_stand_in.behaviours import Spec, event_id_of

_HASH_BYTES: Final = 8
"""A share is exact to one in 2**64."""


class Selection(Spec):
    """Events by id, by a part of the name, or as a share of all ids; it holds an event that matches any of these."""

    # Not strict as a container: JSON has no sets.
    event_ids: frozenset[str] = Field(default=frozenset(), strict=False)
    name_contains: str | None = Field(default=None, min_length=1)
    share: float | None = Field(default=None, gt=0, le=1)
    """By a hash of seed and id, so that it holds the same ids in any order of arrival."""

    seed: int | None = None

    @model_validator(mode="after")
    def _names_an_event(self) -> Self:
        if not self.event_ids and self.name_contains is None and self.share is None:
            raise ValueError("needs event_ids, name_contains or share")
        if self.seed is not None and self.share is None:
            raise ValueError("seed without share does nothing")
        return self

    def concerns(self, events: Sequence[dict[str, Any]]) -> bool:
        """Whether it holds one of a batch's events."""
        return any(self.holds(event_id_of(event), str(event.get("eventName", ""))) for event in events)

    def holds(self, event_id: str | None, name: str) -> bool:
        if event_id in self.event_ids or (self.name_contains is not None and self.name_contains in name):
            return True
        return self.share is not None and event_id is not None and self._place(event_id) < self.share

    def describe(self) -> str:
        which = [f"{len(self.event_ids)} event id(s)"] if self.event_ids else []
        which += [f"names with {self.name_contains!r}"] if self.name_contains else []
        which += [f"one of {self.share * 100:g} % of all event ids"] if self.share else []
        return f"to batches holding {' or '.join(which)}"

    def _place(self, event_id: str) -> float:
        digest = blake2b(f"{self.seed or 0}:{event_id}".encode(), digest_size=_HASH_BYTES).digest()
        return int.from_bytes(digest) / float(1 << 8 * _HASH_BYTES)
