"""A behaviour that is drawn anew for each request, from all that the stand-in can do, in a seeded sequence; pure.

It never contradicts HTTP: after an answer that means that nothing was kept, or that all was, that is so.
"""

import random
from http import HTTPStatus
from typing import Annotated, Final, Literal

from pydantic import Field, FiniteFloat, NonNegativeFloat

from deploy.local.statsig_stand_in.behaviours import ACCEPT, Behaviour, Drip, Hang, Reset, Spec, Status

SURELY_NOT_KEPT: Final = (302, 400, 401, 403, 404, 405, 413, 422, 429)
"""Statuses which mean that the server has not done what was asked."""

MAYBE_KEPT: Final = (408, 409, 418, 500, 502, 503, 504, 520, 521, 522, 523, 524)
"""Statuses that may come from a proxy which had passed the request on; 520 to 524 are Cloudflare's."""

SUCCESSES: Final = (200, 202, 204)

STATUSES: Final = (*SUCCESSES, *SURELY_NOT_KEPT, *MAYBE_KEPT)

SAYS_YES: Final = '{"success":true}'
BODIES: Final = (SAYS_YES, '{"success":false}', "", "<html><body>proxy</body></html>", '{"succ')

RETRY_AFTER: Final = (None, "0", "1", "2")
"""Header values, in seconds; short enough for a test to wait."""

_KINDS: Final = {"status": 6, "reset": 2, "hang": 1, "drip": 1}
"""What is done in place of accepting, with weights: a hang costs a client its timeout, a status costs it nothing."""

_DRIPPED_BYTES: Final = len(SAYS_YES)


class Chance(Spec):
    """Accept `accepts_share` of the requests as usual; draw a behaviour for each of the others."""

    kind: Literal["random"] = "random"
    accepts_share: float = Field(ge=0, lt=1)
    longest_delay_seconds: Annotated[NonNegativeFloat, FiniteFloat] = 0.0
    """The longest delay of a drawn answer, from the end of the request to the end of the answer."""

    seed: int = 0

    def describe(self) -> str:
        return f"doing anything to {(1 - self.accepts_share) * 100:g} % of requests"

    def drawn(self, source: random.Random) -> Behaviour:
        """The behaviour for the next request."""
        if source.random() < self.accepts_share:
            return ACCEPT
        (kind,) = source.choices(tuple(_KINDS), tuple(_KINDS.values()))
        delay = source.choice((0.0, source.uniform(0, self.longest_delay_seconds)))
        is_kept = source.random() < 0.5  # noqa: PLR2004 - a coin
        match kind:
            case "hang":
                return Hang(accept=is_kept)
            case "reset":
                return Reset(accept=True) if is_kept else Reset(when=source.choice(("before_read", "after_read")))
            case "drip" if delay:
                return Drip(gap_seconds=delay / _DRIPPED_BYTES)
            case _:
                return self._status(source, is_kept, delay)

    def _status(self, source: random.Random, is_kept: bool, delay: float) -> Status:
        status = source.choice(STATUSES)
        body = source.choice(BODIES)
        breaks_off = source.random() < 0.1  # noqa: PLR2004 - one in ten, among five other bodies
        if status in SURELY_NOT_KEPT:
            is_kept = False
        elif status in SUCCESSES and body == SAYS_YES and not breaks_off:
            is_kept = True
        headers = {}
        if status == HTTPStatus.FOUND:
            headers["Location"] = "/elsewhere"
        elif status == HTTPStatus.TOO_MANY_REQUESTS and (seconds := source.choice(RETRY_AFTER)) is not None:
            headers["Retry-After"] = seconds
        return Status(
            status=status, headers=headers, body=body, accept=is_kept, delay_seconds=delay, breaks_off=breaks_off
        )
