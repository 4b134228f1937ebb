"""The circuit: stops pulling while Statsig is down or refuses us, so that an outage costs delay and nothing else.

While it is open nothing is pulled, what is held stays held, and one small probe at a time is let through. It closes by
itself with the first confirmation.
"""

import random
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import anyio

from shared.clock import Clock
from shared.logs import get_logger

FAILURES_TO_OPEN: Final = 3
"""Failed attempts in a row, all lanes together. Fewer would open for a single bad connection."""

PROBE_MESSAGES: Final = 10
"""Of a probe: enough to tell a bad event from a bad destination, few enough to be nothing where it fails."""

LONGEST_WAIT_FACTOR: Final = 10.0
"""The wait for a probe doubles up to this many times the first."""

DEAD_LETTER_WINDOW: Final = 200
DEAD_LETTERS_TO_OPEN: Final = 20
DEAD_LETTER_SHARE_TO_OPEN: Final = 0.5
"""Twenty with nothing confirmed between them, or more than half of the last 200 final outcomes: then it is not the
events that are wrong."""

DEAD_LETTER_SHARE: Final = "dead_letter_share"
"""The reason of a circuit that these opened."""

LONGEST_RETRY_AFTER_SECONDS: Final = 300.0
"""A longer Retry-After is not believed."""

_log = get_logger()


@dataclass(frozen=True, slots=True)
class Admission:
    """Leave to work on messages now."""

    max_messages: int | None
    """None: as many as usual."""

    @property
    def is_probe(self) -> bool:
        return self.max_messages is not None


class Circuit:
    """Shared by all lanes of a process. Every method is for the event loop's thread."""

    def __init__(self, clock: Clock, *, probe_seconds: float, rng: random.Random | None = None) -> None:
        self._clock = clock
        self._probe_seconds = probe_seconds
        self._random = rng or random.Random()  # noqa: S311 - jitter
        self._failures = 0
        self._finals: deque[bool] = deque(maxlen=DEAD_LETTER_WINDOW)
        self._rejected_in_a_row = 0
        self._quiet_until = 0.0
        self._reason: str | None = None
        self._opened_at: datetime | None = None
        self._probe_at = 0.0
        self._wait = probe_seconds
        self._probing = False
        self._changed = anyio.Event()

    @property
    def open_reason(self) -> str | None:
        """Why it is open; None while it is closed."""
        return self._reason

    @property
    def open_since(self) -> datetime | None:
        """When it opened, by the worker's clock; aware. None while it is closed."""
        return self._opened_at

    async def admit(self) -> Admission:
        """Wait until work is admitted: at once while closed, else for one caller at a time as the probe.

        Every admission must be given back by `leave`.
        """
        while self._reason is not None:
            wait = self._probe_at - self._clock.monotonic()
            if wait <= 0 and not self._probing:
                self._probing = True
                return Admission(PROBE_MESSAGES)
            changed = self._changed
            with anyio.move_on_after(None if self._probing else wait):
                await changed.wait()
        return Admission(None)

    def leave(self, admission: Admission) -> None:
        """The work that was admitted is over. A probe that told nothing is followed by another one at once."""
        if admission.is_probe:
            self._probing = False
            self._notify()

    def answered(self, *, confirmed: bool) -> None:
        """Statsig took our key and answered for the events: it confirmed some, or rejected them all.

        A rejection too shows that an outage is over, but not that what we send is right again.
        """
        self._failures = 0
        if self._reason is not None and (confirmed or self._reason != DEAD_LETTER_SHARE):
            self._close()

    def ask_for_quiet(self, seconds: float) -> None:
        """Statsig asked for a pause (Retry-After), of all of us and not only of the batch that was answered so."""
        quiet = min(seconds, LONGEST_RETRY_AFTER_SECONDS)
        self._quiet_until = max(self._quiet_until, self._clock.monotonic() + quiet)

    def quiet_seconds(self) -> float:
        """What is left of that pause; 0 where none is asked for."""
        return max(0.0, self._quiet_until - self._clock.monotonic())

    def recovered(self, reason: str) -> None:
        """What opened the circuit for this reason works again."""
        if self._reason == reason:
            self._close()

    def failed(self, reason: str, retry_after_seconds: float | None = None) -> None:
        """An attempt failed for no fault of the events; FAILURES_TO_OPEN in a row open the circuit."""
        self._failures += 1
        if self._failures >= FAILURES_TO_OPEN or self._reason is not None:
            self.open(reason, retry_after_seconds)

    def open(self, reason: str, retry_after_seconds: float | None = None) -> None:
        """Open at once, or put off the next probe."""
        if self._reason is None:
            self._wait = self._probe_seconds
            self._opened_at = datetime.fromtimestamp(self._clock.now_nanos() / 1e9, UTC)
            _log.error("circuit_opened", reason=reason)
        elif self._probing:
            self._wait = min(self._wait * 2, self._probe_seconds * LONGEST_WAIT_FACTOR)
        elif self._clock.monotonic() < self._probe_at:
            # An attempt from before it opened has ended: nothing new, but that rejections are not to be believed.
            if reason == DEAD_LETTER_SHARE:
                self._reason = reason
            return
        self._reason = reason
        asked = min(retry_after_seconds or 0.0, LONGEST_RETRY_AFTER_SECONDS)
        self._probe_at = self._clock.monotonic() + max(asked, self._wait) * self._random.uniform(1.0, 1.25)
        self._notify()

    def admits_dead_letters(self, *, rejected: int, delivered: int) -> bool:
        """Note final outcomes; False, and the circuit is open, where too many are rejections to believe them."""
        if not rejected:
            self._finals.extend([False] * delivered)
            if delivered:
                self._rejected_in_a_row = 0
            return True
        if self._reason == DEAD_LETTER_SHARE and not delivered:
            self.open(DEAD_LETTER_SHARE)
            return False
        self._finals.extend([False] * delivered + [True] * rejected)
        dead = sum(self._finals)
        self._rejected_in_a_row = 0 if delivered else self._rejected_in_a_row + rejected
        mostly = dead >= DEAD_LETTERS_TO_OPEN and dead > DEAD_LETTER_SHARE_TO_OPEN * len(self._finals)
        if mostly or self._rejected_in_a_row >= DEAD_LETTERS_TO_OPEN:
            self._finals.clear()
            self._rejected_in_a_row = 0
            self.open(DEAD_LETTER_SHARE)
            return False
        return True

    def _close(self) -> None:
        _log.info("circuit_closed", reason=self._reason)
        self._reason = self._opened_at = None
        self._wait = self._probe_seconds
        self._finals.clear()
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
