"""The circuit breaker in front of Statsig: while it is open, only probes are sent.

It opens when requests fail in a row with no confirmation between them, and closes at the first confirmation. It counts
requests only; `worker/poison.py` decides which event is to blame. An operator can pause it, open or closed: then
nothing is sent, not even a probe.
"""

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import anyio

from shared.clock import Clock
from shared.process.logs import get_logger

FAILURES_TO_OPEN: Final = 3
"""Failed requests in a row, of all lanes, that open it. Fewer would open for a single bad connection."""

SILENCE_SECONDS: Final = 2.0
"""Three failures in a row open it only if nothing was confirmed for so long. With every third event bad, three requests
of one event each fail in a row now and then, although others are confirmed several times a second."""

FAILURES_IN_A_BURST: Final = 12
"""Failed requests in a row that open it after the shorter BURST_SILENCE_SECONDS. A lane whose batch is all bad fails a
dozen times between two confirmations of another lane."""

BURST_SILENCE_SECONDS: Final = 0.5
"""How long nothing must have been confirmed before FAILURES_IN_A_BURST or REJECTIONS_TO_OPEN count."""

REJECTIONS_TO_OPEN: Final = 40
"""Requests in a row that are rejected for their payload (400, 413, 422). A rejection costs nothing and leaves no copy,
and a caller's bad events may come first: finding twenty of them one by one takes about as many requests."""

REJECTED_PROBE_WAIT_SECONDS: Final = 0.25
"""From a probe that is rejected to the next one, of another event. Statsig answers, so there is no recovery to wait
for, and a good event may wait behind hundreds of bad ones."""

INCONCLUSIVE_PROBE_PAUSE_SECONDS: Final = 0.25
"""At least this long passes between a probe that sent nothing and the next one, unless the first wait is shorter."""

LONGEST_WAIT_FACTOR: Final = 10.0
"""The wait for a probe doubles up to this many times the first."""

MAX_RETRY_AFTER_PAUSE_SECONDS: Final = 30.0
"""Cap on a Retry-After as a pause of all lanes: no batch should be held for longer, nor every lane for one answer."""

LONGEST_RETRY_AFTER_SECONDS: Final = 300.0
"""Cap on a Retry-After as the wait for the next probe. A longer one is not believed."""

_log = get_logger()


@dataclass(frozen=True, slots=True)
class Admission:
    """Permission to work on messages now; ended by `Circuit.leave`."""

    is_probe: bool
    """Only a probe is admitted: one event, a different one each time."""


class Circuit:
    """One per process, shared by all lanes; for the event loop's thread. Only `admit` and `wait_closed` wait."""

    def __init__(self, clock: Clock, *, probe_seconds: float, rng: random.Random | None = None) -> None:
        """`probe_seconds` is the wait before the first probe."""
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
        self._paused = False
        self._changed = anyio.Event()

    @property
    def open_reason(self) -> str | None:
        """Why it is open; None while it is closed."""
        return self._reason

    @property
    def is_paused(self) -> bool:
        """Whether an operator has paused it."""
        return self._paused

    @property
    def admits_batches(self) -> bool:
        """Whether whole batches may be sent: it is closed, and not paused."""
        return self._reason is None and not self._paused

    @property
    def open_since(self) -> datetime | None:
        """When it opened, by the worker's clock; aware. None while it is closed."""
        return self._opened_at

    @property
    def next_probe_at(self) -> datetime | None:
        """When the next probe is due, by the worker's clock; now while one is in flight. None while closed."""
        if self._reason is None:
            return None
        wait = max(self._probe_at - self._clock.monotonic(), self.retry_after_remaining_seconds())
        return self._clock.now() + timedelta(seconds=wait)

    def confirmed_since(self, moment: float) -> bool:
        """Whether Statsig has confirmed anything since `moment` (monotonic)."""
        return self._confirmed_at >= moment

    async def admit(self) -> Admission:
        """Wait until work is admitted: at once while closed, else one caller at a time as the probe.

        Also waits for a pause that Statsig or an operator asked for. The caller must end the admission by `leave`.
        """
        while True:
            if self._paused:
                await self._changed.wait()
                continue
            wait = self.retry_after_remaining_seconds()
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

    async def wait_closed(self) -> None:
        """Return once it is closed and not paused."""
        while not self.admits_batches:
            await self._changed.wait()

    def pause(self) -> None:
        """Admit nothing until `resume`. Idempotent."""
        if not self._paused:
            self._paused = True
            _log.warning("forwarding_paused")

    def resume(self) -> None:
        """End a pause. Idempotent."""
        if self._paused:
            self._paused = False
            _log.info("forwarding_resumed")
            self._notify()

    def probe_now(self) -> None:
        """Let the next probe be due now, and end a pause that Statsig asked for. Does nothing while closed."""
        if self._reason is not None:
            self._probe_at = self._quiet_until = self._clock.monotonic()
            self._wait = self._probe_seconds
            self._notify()

    def leave(self, admission: Admission) -> None:
        """End the admitted work. After a probe that neither failed nor was confirmed the next one follows soon."""
        if admission.is_probe:
            self._probing = False
            pause = min(INCONCLUSIVE_PROBE_PAUSE_SECONDS, self._probe_seconds)
            self._probe_at = max(self._probe_at, self._clock.monotonic() + pause)
            self._notify()

    def retry_after_remaining_seconds(self) -> float:
        """Seconds left of a pause that Statsig asked for (Retry-After); 0 without one."""
        return max(0.0, self._quiet_until - self._clock.monotonic())

    def confirmed(self) -> None:
        """Statsig confirmed events: it is reachable and accepts the key. Closes the circuit."""
        self._confirmed_at = self._clock.monotonic()
        self._failures = self._rejections = 0
        if self._reason is not None:
            _log.info("circuit_closed", reason=self._reason)
            self._reason = self._opened_at = None
            self._notify()

    def failed(
        self, reason: str, retry_after_seconds: float | None = None, *, is_limit: bool = False, is_probe: bool = False
    ) -> None:
        """A request failed, perhaps because of Statsig.

        `retry_after_seconds` (Retry-After) pauses all lanes if it came with a 429 (`is_limit`), or if nothing was
        confirmed for SILENCE_SECONDS; otherwise a single bad event could pause them all.
        """
        retry_after = retry_after_seconds or 0.0
        if retry_after and (is_limit or self._is_silent(SILENCE_SECONDS)):
            quiet = self._clock.monotonic() + min(retry_after, MAX_RETRY_AFTER_PAUSE_SECONDS)
            self._quiet_until = max(self._quiet_until, quiet)
        self._failures += 1
        if self._reason is not None:
            if is_probe:
                self._probe_failed(reason, retry_after)
        elif (self._failures >= FAILURES_TO_OPEN and self._is_silent(SILENCE_SECONDS)) or (
            self._failures >= FAILURES_IN_A_BURST and self._is_silent(BURST_SILENCE_SECONDS)
        ):
            self._open(reason, retry_after)

    def rejected(self, reason: str, *, is_probe: bool = False) -> None:
        """A request was rejected for its payload: Statsig is reachable, but confirmed nothing."""
        self._rejections += 1
        if self._reason is not None:
            if is_probe:
                self._reason = reason
                self._wait = min(REJECTED_PROBE_WAIT_SECONDS, self._probe_seconds)
                self._schedule_probe(0.0)
        elif self._rejections >= REJECTIONS_TO_OPEN and self._is_silent(BURST_SILENCE_SECONDS):
            self._open(reason, 0.0)

    def _is_silent(self, seconds: float) -> bool:
        return not self.confirmed_since(self._clock.monotonic() - seconds)

    def _open(self, reason: str, retry_after: float) -> None:
        self._reason = reason
        self._opened_at = self._clock.now()
        self._wait = self._probe_seconds
        _log.error("circuit_opened", reason=reason)
        self._schedule_probe(retry_after)

    def _probe_failed(self, reason: str, retry_after: float) -> None:
        self._reason = reason
        self._wait = min(max(self._wait * 2, self._probe_seconds), self._probe_seconds * LONGEST_WAIT_FACTOR)
        self._schedule_probe(retry_after)

    def _schedule_probe(self, retry_after: float) -> None:
        wait = max(min(retry_after, LONGEST_RETRY_AFTER_SECONDS), self._wait)
        self._probe_at = self._clock.monotonic() + wait * self._random.uniform(1.0, 1.25)
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
