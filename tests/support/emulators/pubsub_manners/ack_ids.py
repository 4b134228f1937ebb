"""Ack ids of the double: the emulator's own with something behind it, so that each delivery has another one."""

import itertools
from collections.abc import Iterable
from typing import Final

SEPARATOR: Final = "|"
"""Occurs in no name of a subscription, and so in no ack id of the emulator."""


class AckIds:
    """A double that is started anew understands those of the one before: nothing is remembered."""

    def __init__(self, chars: int) -> None:
        self._chars = chars
        self._numbers = itertools.count(1)

    def fresh(self, emulators: str) -> str:
        """Another one for the same lease."""
        return f"{emulators}{SEPARATOR}{next(self._numbers)}".ljust(self._chars, "=")


def emulators(ack_ids: Iterable[str]) -> list[str]:
    """What the emulator knows them by, each once."""
    return list(dict.fromkeys(each.partition(SEPARATOR)[0] for each in ack_ids))
