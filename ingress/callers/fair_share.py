"""How callers share what there is a limited amount of: rows that wait, the memory that they take, decoded bodies.

A caller may hold as much as is still free (the dynamic threshold of Choudhury and Hahne, 1998). So one caller alone
fills half; n that want more than there is get one part in n + 1 each; and who comes next finds as much free as each of
them holds. Nothing is kept for callers that are not there, and no share has to be set.
"""

from shared.errors import CallerOverloadedError, OverloadedError
from shared.events.event import Caller


def queue_of(caller: Caller) -> str:
    """The name under which a caller's share is kept: one for all anonymous callers.

    How the identity was established is part of it: what anybody can write into a header must not take from the share of
    who presents a token that was checked.
    """
    return f"{caller.source}:{caller.principal}" if caller.principal else ""


class FairShare:
    """What each caller holds of a limited amount. Pure; for the event loop's thread.

    Amounts are above 0, and what is given back was taken.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0
        self._held: dict[str, int] = {}

    @property
    def taken(self) -> int:
        """By all together."""
        return self._taken

    @property
    def callers(self) -> int:
        """How many hold something."""
        return len(self._held)

    def held_by(self, caller: str) -> int:
        return self._held.get(caller, 0)

    def has_room(self, caller: str, amount: int) -> bool:
        """Whether the caller may take so much more. What comes alone may, however much it is: else it never could."""
        return amount <= self._limit - self._taken - self._held.get(caller, 0) or not self._taken

    def refusal(self, caller: str, amount: int, *, own: str, whole: str) -> OverloadedError | None:
        """None where there is room, else the error to answer: with the text `own` where it is the caller's own load.

        It is where the caller would hold more than each may when all who are here want more than there is. Else others
        took more while they were fewer, and have not yet given it back.
        """
        if self.has_room(caller, amount):
            return None
        held = self._held.get(caller, 0)
        if held and (held + amount) * (len(self._held) + 1) > self._limit:
            return CallerOverloadedError(own)
        return OverloadedError(whole)

    def take(self, caller: str, amount: int) -> None:
        """Whether there is room or not: ask before."""
        self._taken += amount
        self._held[caller] = self._held.get(caller, 0) + amount

    def release(self, caller: str, amount: int) -> None:
        self._taken -= amount
        left = self._held[caller] - amount
        if left:
            self._held[caller] = left
        else:
            del self._held[caller]
