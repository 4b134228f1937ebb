"""Messages of one subscription that the double will deliver later: late ones, and copies."""

import time
from dataclasses import dataclass
from typing import Any, Final

LEASE_SECONDS: Final = 30
"""The emulator's lease of a message that the double holds back: far longer than one is, while anything pulls."""


@dataclass(slots=True, eq=False)
class _Entry:
    ripe_at: float
    message: Any
    is_copy: bool
    ends_at: float
    """When the emulator's lease ends. A copy that was not delivered by then is dropped too."""


class HeldBack:
    def __init__(self) -> None:
        self._entries: list[_Entry] = []

    def add(self, message: Any, seconds: float, *, is_copy: bool) -> None:
        now = time.monotonic()
        self._entries.append(_Entry(now + seconds, message, is_copy, now + LEASE_SECONDS))

    def ripe(self, most: int) -> tuple[list[Any], list[Any]]:
        """Takes late messages and copies that are due, `most` of them at most together."""
        now = time.monotonic()
        self._entries = [each for each in self._entries if each.ends_at > now]
        found = [each for each in self._entries if each.ripe_at <= now][:most]
        self._entries = [each for each in self._entries if each not in found]
        return (
            [each.message for each in found if not each.is_copy],
            [each.message for each in found if each.is_copy],
        )

    def late(self) -> list[Any]:
        """The late messages, which the emulator has leased to the double."""
        return [each.message for each in self._entries if not each.is_copy]
