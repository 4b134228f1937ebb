"""The worker's gauges: the circuit, the age of the oldest pending event, and the open dead letters."""

from collections import Counter
from typing import Final

import anyio

from shared.clock import Clock
from shared.errors import EventLoggingError
from shared.events.dead_letter_table import DeadLetterTable, LetterChoice
from shared.events.forward_ledger import ForwardLedger
from shared.process.logs import get_logger
from shared.telemetry.metrics import CIRCUIT_OPEN, OLDEST_PENDING, OPEN_DEAD_LETTERS, gauge
from shared.telemetry.providers import Telemetry
from worker.circuit import Circuit

PENDING_AGE_INTERVAL_SECONDS: Final = 15.0
"""Between two reads of the ledger's index. A read takes some rows, and an alert need not be quicker."""

DEAD_LETTERS_INTERVAL_SECONDS: Final = 60.0
"""Between two counts of the open dead letters. A count reads all of them."""

MAX_REASONS: Final = 20
"""Reasons with a time series each; the rest counts as `other`. A reason may be any text that a publisher of the
dead-letter topic wrote."""

_log = get_logger()


def observe_circuit(telemetry: Telemetry, circuit: Circuit) -> None:
    """Register the gauge: 1 for the reason of an open circuit, else 0 without a reason."""

    def state() -> dict[str, float]:
        reason = circuit.open_reason
        return {"": 0} if reason is None else {reason: 1}

    gauge(telemetry.meter, CIRCUIT_OPEN, state)


class PendingAge:
    """The age of the oldest pending event. It keeps growing while Spanner does not answer."""

    def __init__(self, ledger: ForwardLedger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._pending_since: float | None = None
        self._is_read = False

    def seconds(self) -> float | None:
        """0 if nothing is pending; None before the first answer."""
        if self._pending_since is None:
            return 0.0 if self._is_read else None
        return max(0.0, self._clock.monotonic() - self._pending_since)

    async def refresh(self) -> None:
        """Read the ledger.

        Raises:
            StorageUnavailableError: no answer.
        """
        age = await self._ledger.oldest_pending_seconds()
        self._pending_since = None if age is None else self._clock.monotonic() - age
        self._is_read = True

    async def watch_forever(self, telemetry: Telemetry) -> None:
        """Register the gauge, and refresh it at intervals, until cancelled."""
        gauge(telemetry.meter, OLDEST_PENDING, self.seconds)
        while True:
            try:
                await self.refresh()
            except EventLoggingError as error:
                _log.warning("pending_age_unknown", error=str(error))
            except Exception:  # noqa: BLE001 - a metric must not end the process
                _log.exception("pending_age_crashed")
            await anyio.sleep(PENDING_AGE_INTERVAL_SECONDS)


class OpenDeadLetters:
    """The number of dead letters that wait for an operator. While Spanner does not answer it stays as it was."""

    def __init__(self, table: DeadLetterTable) -> None:
        self._table = table
        self._by_reason: dict[str, float] | None = None

    def by_reason(self) -> dict[str, float] | None:
        """None before the first answer."""
        return self._by_reason

    async def refresh(self) -> None:
        """Count the open dead letters.

        Raises:
            StorageUnavailableError: no answer.
        """
        found: Counter[str] = Counter()
        for each in await self._table.count(LetterChoice(), ages=[]):
            found[each.reason] += each.letters
        shown: Counter[str] = Counter(dict(found.most_common(MAX_REASONS)))
        if rest := found.total() - shown.total():
            shown["other"] += rest
        # A reason that is gone is reported once as 0 and then dropped, so that series do not pile up.
        gone = {reason: 0.0 for reason, count in (self._by_reason or {}).items() if count}
        self._by_reason = gone | {reason: float(count) for reason, count in shown.items()} or {"": 0.0}

    async def watch_forever(self, telemetry: Telemetry) -> None:
        """Register the gauge, and refresh it at intervals, until cancelled."""
        gauge(telemetry.meter, OPEN_DEAD_LETTERS, self.by_reason)
        while True:
            try:
                await self.refresh()
            except EventLoggingError as error:
                _log.warning("open_dead_letters_unknown", error=str(error))
            except Exception:  # noqa: BLE001 - as above
                _log.exception("open_dead_letters_crashed")
            await anyio.sleep(DEAD_LETTERS_INTERVAL_SECONDS)
