"""Whether several callers have called recently. Fairness among them costs time, which a lone caller need not pay."""

from typing import Final

RECENT_SECONDS: Final = 10.0
"""How long callers count as several after one called that was not the last one. A caller that calls less often than
this may find the other one treated as alone."""


class RecentCallers:
    """Whether several callers called within RECENT_SECONDS. Times are seconds of any one monotonic clock."""

    def __init__(self) -> None:
        self._latest: str | None = None
        self._company_until = float("-inf")

    def came(self, caller: str, now: float) -> None:
        if caller != self._latest:
            if self._latest is not None:
                self._company_until = now + RECENT_SECONDS
            self._latest = caller

    def are_several(self, now: float) -> bool:
        return now < self._company_until
