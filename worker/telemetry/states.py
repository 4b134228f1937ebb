"""What the worker's gauges show: the circuit, the age of the oldest pending event, and the open dead letters."""

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

LOOK_SECONDS: Final = 15.0
"""Between two looks at the ledger's index: some rows each, and an alert need not be quicker."""

LETTERS_SECONDS: Final = 60.0
"""Between two counts of the open dead letters, which go through all of them."""

REASONS_SHOWN: Final = 20
"""Anybody may write a reason into a message of the dead-letter topic: of so many there is a series each."""

_log = get_logger()


def observe_circuit(telemetry: Telemetry, circuit: Circuit) -> None:
    def state() -> dict[str, float]:
        reason = circuit.open_reason
        return {"": 0} if reason is None else {reason: 1}

    gauge(telemetry.meter, CIRCUIT_OPEN, state)


class PendingAge:
    """The age of the oldest pending event. While Spanner does not answer, what was pending last grows older."""

    def __init__(self, ledger: ForwardLedger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._born: float | None = None
        self._looked = False

    def seconds(self) -> float | None:
        """0 where nothing is pending; None before the first answer."""
        if self._born is None:
            return 0.0 if self._looked else None
        return max(0.0, self._clock.monotonic() - self._born)

    async def look(self) -> None:
        """Ask the ledger.

        Raises:
            StorageUnavailableError: no answer.
        """
        age = await self._ledger.oldest_pending_seconds()
        self._born = None if age is None else self._clock.monotonic() - age
        self._looked = True

    async def watch_forever(self, telemetry: Telemetry) -> None:
        """Look at intervals, until cancelled."""
        gauge(telemetry.meter, OLDEST_PENDING, self.seconds)
        while True:
            try:
                await self.look()
            except EventLoggingError as error:
                _log.warning("pending_age_unknown", error=str(error))
            except Exception:  # noqa: BLE001 - what only informs must not end the process that forwards
                _log.exception("pending_age_crashed")
            await anyio.sleep(LOOK_SECONDS)


class OpenLetters:
    """How many dead letters wait for a person. While Spanner does not answer, as many as there were last."""

    def __init__(self, letters: DeadLetterTable) -> None:
        self._letters = letters
        self._by_reason: dict[str, float] | None = None

    def by_reason(self) -> dict[str, float] | None:
        """None before the first answer."""
        return self._by_reason

    async def look(self) -> None:
        """Count.

        Raises:
            StorageUnavailableError: no answer.
        """
        found: Counter[str] = Counter()
        for each in await self._letters.count(LetterChoice(), ages=[]):
            found[each.reason] += each.letters
        shown: Counter[str] = Counter(dict(found.most_common(REASONS_SHOWN)))
        if rest := found.total() - shown.total():
            shown["other"] += rest
        # What went since the last look is told once as nothing, and then no more: anybody may write new reasons.
        gone = {reason: 0.0 for reason, letters in (self._by_reason or {}).items() if letters}
        self._by_reason = gone | {reason: float(letters) for reason, letters in shown.items()} or {"": 0.0}

    async def watch_forever(self, telemetry: Telemetry) -> None:
        """Count at intervals, until cancelled."""
        gauge(telemetry.meter, OPEN_DEAD_LETTERS, self.by_reason)
        while True:
            try:
                await self.look()
            except EventLoggingError as error:
                _log.warning("open_dead_letters_unknown", error=str(error))
            except Exception:  # noqa: BLE001 - as above
                _log.exception("open_dead_letters_crashed")
            await anyio.sleep(LETTERS_SECONDS)
