"""The circuit: what is known of the destination, Statsig, and whether anything but probes may be sent to it.

It opens where requests fail one after the other and nothing is confirmed between them, and closes with the first
confirmation. It knows nothing of events: which of them is to blame is `worker/poison.py`'s business.
"""

import random
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import anyio

from shared.clock import Clock
from shared.process.logs import get_logger

FAILURES_TO_OPEN: Final = 3
"""Failed requests in a row, all lanes together. Fewer would open for a single bad connection."""

SILENCE_SECONDS: Final = 2.0
"""Without a confirmation, beside the failures in a row. With every third event bad, three requests of one event fail in
a row every now and then, while good ones are confirmed between them several times a second."""

FAILURES_IN_A_BURST: Final = 12
BURST_SILENCE_SECONDS: Final = 0.5
"""Failed requests in a row that open it after a shorter silence. A lane whose batch is all bad fails a dozen times
between two confirmations of another one."""

REJECTIONS_TO_OPEN: Final = 40
"""As above for requests that are rejected for what they carry (400, 413, 422), after the shorter silence too. They cost
nothing and leave no copies, and somebody's bad events may come first: enough to find twenty of them one by one."""

UNTOLD_SECONDS: Final = 0.25
"""Between a probe that told nothing and the next one, where the first wait is not shorter anyway."""

LONGEST_WAIT_FACTOR: Final = 10.0
"""The wait for a probe doubles up to this many times the first."""

LONGEST_QUIET_SECONDS: Final = 30.0
"""Of a Retry-After while the circuit is closed: no batch should be held for longer, nor everybody for one answer."""

LONGEST_RETRY_AFTER_SECONDS: Final = 300.0
"""Of a Retry-After of a circuit that is open. A longer one is not believed."""

_log = get_logger()


@dataclass(frozen=True, slots=True)
class Admission:
    """Leave to work on messages now."""

    is_probe: bool
    """Whether only a probe is admitted: one event, a different one each time."""


class Circuit:
    """Shared by all lanes of a process. Every method is for the event loop's thread."""

    def __init__(self, clock: Clock, *, probe_seconds: float, rng: random.Random | None = None) -> None:
        self._clock = clock
        self._probe_seconds = probe_seconds
        self._random = rng or random.Random()  # noqa: S311 - jitter
        self._failures = 0
        self._rejections = 0
        self._confirmed_at = float("-inf")
        self._quiet_until = float("-inf")
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

    @property
    def next_probe_at(self) -> datetime | None:
        """When it is next tried, by the worker's clock; now or earlier while a probe is on its way. None if closed."""
        if self._reason is None:
            return None
        wait = max(self._probe_at - self._clock.monotonic(), self.quiet_seconds())
        return datetime.fromtimestamp(self._clock.now_nanos() / 1e9 + wait, UTC)

    def confirmed_since(self, moment: float) -> bool:
        """Whether Statsig has confirmed anything since then (monotonic)."""
        return self._confirmed_at >= moment

    async def admit(self) -> Admission:
        """Wait until work is admitted: at once while closed, else for one caller at a time as the probe.

        A pause that Statsig asked for is waited for too. Every admission must be given back by `leave`.
        """
        while True:
            wait = self.quiet_seconds()
            if self._reason is not None:
                wait = max(wait, self._probe_at - self._clock.monotonic())
            if wait <= 0:
                if self._reason is None:
                    return Admission(is_probe=False)
                if not self._probing:
                    self._probing = True
                    return Admission(is_probe=True)
            changed = self._changed
            with anyio.move_on_after(wait if wait > 0 else None):
                await changed.wait()

    async def closed(self) -> None:
        """Wait until it is closed."""
        while self._reason is not None:
            await self._changed.wait()

    def leave(self, admission: Admission) -> None:
        """The work that was admitted is over. A probe that told nothing is soon followed by another one."""
        if admission.is_probe:
            self._probing = False
            self._probe_at = max(self._probe_at, self._clock.monotonic() + min(UNTOLD_SECONDS, self._probe_seconds))
            self._notify()

    def quiet_seconds(self) -> float:
        """What is left of a pause that Statsig asked for (Retry-After); 0 where none is."""
        return max(0.0, self._quiet_until - self._clock.monotonic())

    def confirmed(self) -> None:
        """Statsig confirmed something: it is there, and takes our key."""
        self._confirmed_at = self._clock.monotonic()
        self._failures = self._rejections = 0
        if self._reason is not None:
            _log.info("circuit_closed", reason=self._reason)
            self._reason = self._opened_at = None
            self._notify()

    def failed(
        self, reason: str, retry_after_seconds: float | None = None, *, is_limit: bool = False, is_probe: bool = False
    ) -> None:
        """A request failed, and the destination may be why.

        What Statsig asks to wait (Retry-After) is everybody's pause where it says that we send too much (`is_limit`, a
        429), and else where nothing was confirmed lately: one bad event may draw it as well.
        """
        asked = retry_after_seconds or 0.0
        if asked and (is_limit or self._is_silent(SILENCE_SECONDS)):
            quiet = self._clock.monotonic() + min(asked, LONGEST_QUIET_SECONDS)
            self._quiet_until = max(self._quiet_until, quiet)
        self._failures += 1
        if self._reason is not None:
            if is_probe:
                self._probe_failed(reason, asked, grows=True)
        elif (self._failures >= FAILURES_TO_OPEN and self._is_silent(SILENCE_SECONDS)) or (
            self._failures >= FAILURES_IN_A_BURST and self._is_silent(BURST_SILENCE_SECONDS)
        ):
            self._open(reason, asked)

    def rejected(self, reason: str, *, is_probe: bool = False) -> None:
        """A request was rejected for what it carries: the destination is there, but confirms nothing."""
        self._rejections += 1
        if self._reason is not None:
            # It answers at once: the next probe, of another event, need not wait for it to recover.
            if is_probe:
                self._probe_failed(reason, 0.0, grows=False)
        elif self._rejections >= REJECTIONS_TO_OPEN and self._is_silent(BURST_SILENCE_SECONDS):
            self._open(reason, 0.0)

    def _is_silent(self, seconds: float) -> bool:
        return not self.confirmed_since(self._clock.monotonic() - seconds)

    def _open(self, reason: str, asked: float) -> None:
        self._reason = reason
        self._opened_at = datetime.fromtimestamp(self._clock.now_nanos() / 1e9, UTC)
        self._wait = self._probe_seconds
        _log.error("circuit_opened", reason=reason)
        self._schedule(asked)

    def _probe_failed(self, reason: str, asked: float, *, grows: bool) -> None:
        self._reason = reason
        self._wait = min(self._wait * 2, self._probe_seconds * LONGEST_WAIT_FACTOR) if grows else self._probe_seconds
        self._schedule(asked)

    def _schedule(self, asked: float) -> None:
        wait = max(min(asked, LONGEST_RETRY_AFTER_SECONDS), self._wait)
        self._probe_at = self._clock.monotonic() + wait * self._random.uniform(1.0, 1.25)
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
