"""Whether a caller is alone: what is done for the sake of others costs something, and then helps nobody."""

from typing import Final

COMPANY_SECONDS: Final = 10.0
"""For so long a caller that has called counts as here. Who calls less often finds a lone caller's ways now and then."""


class RecentCallers:
    """Those of the last seconds; knows only whether there is more than one. Times are of any one clock."""

    def __init__(self) -> None:
        self._latest: str | None = None
        self._company_until = float("-inf")

    def came(self, caller: str, now: float) -> None:
        if caller != self._latest:
            if self._latest is not None:
                self._company_until = now + COMPANY_SECONDS
            self._latest = caller

    def are_several(self, now: float) -> bool:
        return now < self._company_until
