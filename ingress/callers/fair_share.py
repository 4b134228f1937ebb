"""Fair shares of a limited amount: of waiting rows and their memory, of bodies in flight and what they decode to.

A caller may hold as much as is still free (the dynamic threshold of Choudhury and Hahne, 1998). So a caller alone may
hold half of the limit; n callers that want more than there is get 1 / (n + 1) each; and the next caller finds as much
free as each of them holds. Nothing is reserved for absent callers, and no share needs a setting.
"""

from shared.errors import CallerOverloadedError, OverloadedError
from shared.events.event import Caller


def share_key_of(caller: Caller) -> str:
    """The key of a caller's queue and shares. All anonymous callers have one in common.

    The source of the identity is part of it: a principal that anyone can write into a header must not use up the share
    of a verified one.
    """
    return f"{caller.source}:{caller.principal}" if caller.principal else ""


class FairShare:
    """What each caller holds of a limited amount. Not thread-safe: for the event loop's thread.

    Amounts are above 0. A caller releases only what it has taken.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0
        self._held: dict[str, int] = {}

    @property
    def taken(self) -> int:
        """What all callers hold together."""
        return self._taken

    @property
    def callers(self) -> int:
        """How many callers hold something."""
        return len(self._held)

    def held_by(self, caller: str) -> int:
        return self._held.get(caller, 0)

    def has_room(self, caller: str, amount: int) -> bool:
        """Whether the caller may take so much more.

        With nothing taken any amount is admitted; otherwise one above the limit never would be.
        """
        return amount <= self._limit - self._taken - self._held.get(caller, 0) or not self._taken

    def refusal(self, caller: str, amount: int, *, own: str, whole: str) -> OverloadedError | None:
        """None if there is room, else the error to answer: CallerOverloadedError(own) or OverloadedError(whole).

        The caller's own load is the cause if it already holds something and would hold more than 1 / (callers + 1) of
        the limit, its share when all of them want more than there is. Otherwise other callers took more while they were
        fewer, and have not released it yet.
        """
        if self.has_room(caller, amount):
            return None
        held = self._held.get(caller, 0)
        if held and (held + amount) * (len(self._held) + 1) > self._limit:
            return CallerOverloadedError(own)
        return OverloadedError(whole)

    def take(self, caller: str, amount: int) -> None:
        """Take an amount without a check: see `has_room` and `refusal`."""
        self._taken += amount
        self._held[caller] = self._held.get(caller, 0) + amount

    def release(self, caller: str, amount: int) -> None:
        self._taken -= amount
        left = self._held[caller] - amount
        if left:
            self._held[caller] = left
        else:
            del self._held[caller]
