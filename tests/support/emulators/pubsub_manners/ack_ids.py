"""Ack ids of the double: the emulator's own with a suffix, so that each delivery has another one."""

import itertools
from collections.abc import Iterable
from typing import Final

SEPARATOR: Final = "|"
"""Never part of a subscription's name, and so of no ack id of the emulator."""


class AckIds:
    """Keeps no state: a restarted double understands the ack ids of its predecessor."""

    def __init__(self, chars: int) -> None:
        self._chars = chars
        self._numbers = itertools.count(1)

    def fresh(self, emulators: str) -> str:
        """A new ack id for the same lease."""
        return f"{emulators}{SEPARATOR}{next(self._numbers)}".ljust(self._chars, "=")


def emulators(ack_ids: Iterable[str]) -> list[str]:
    """The emulator's ack ids behind these, each once."""
    return list(dict.fromkeys(each.partition(SEPARATOR)[0] for each in ack_ids))
