"""Messages of one subscription that the double has and will deliver later: late ones, and copies."""

import time
from dataclasses import dataclass
from typing import Any, Final

LEASE_SECONDS: Final = 30
"""Of a late message at the emulator, while the double has it: far longer than any is held back, where anybody pulls."""


@dataclass(slots=True, eq=False)
class _Entry:
    ripe_at: float
    message: Any
    is_copy: bool
    ends_at: float
    """When the emulator takes the message back. A copy that nobody has fetched by then is forgotten too."""


class HeldBack:
    def __init__(self) -> None:
        self._entries: list[_Entry] = []

    def add(self, message: Any, seconds: float, *, is_copy: bool) -> None:
        now = time.monotonic()
        self._entries.append(_Entry(now + seconds, message, is_copy, now + LEASE_SECONDS))

    def ripe(self, most: int) -> tuple[list[Any], list[Any]]:
        """Late messages and copies whose time has come, at most so many together; they are ours no longer."""
        now = time.monotonic()
        self._entries = [each for each in self._entries if each.ends_at > now]
        found = [each for each in self._entries if each.ripe_at <= now][:most]
        self._entries = [each for each in self._entries if each not in found]
        return (
            [each.message for each in found if not each.is_copy],
            [each.message for each in found if each.is_copy],
        )

    def late(self) -> list[Any]:
        """All that the emulator is waiting for."""
        return [each.message for each in self._entries if not each.is_copy]
