"""Sweeps: publish again the pending events that a rule concerns.

What a hold rule held is acked and pending: once the rule has ended a worker publishes it again. A rule that
dead-letters concerns also events whose messages wait in a backoff or were lost: once it has begun a worker publishes
them again, and whoever gets the messages dead-letters the events. If a sweep is cut off, any worker begins it again.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, Protocol

import anyio

from shared.errors import EventLoggingError
from shared.events.event import Event
from shared.events.rule_table import RuleTable
from shared.events.rules import Rule
from shared.process.current_rules import FRESH_SECONDS, CurrentRules
from shared.process.fault_points import fault_point
from shared.process.logs import get_logger

SETTLING_SECONDS: Final = FRESH_SECONDS + 2.0
"""After a rule's change before its sweep begins. By then every process knows of it, or knows that it may not: events
that are published earlier could be held once more by a worker that has not heard that the rule has ended."""

SWEEP_SECONDS: Final = 60.0
"""How long another worker waits for one that does not say any more that it goes on."""

RENEW_SECONDS: Final = 15.0
"""Between two signs of that."""

CHECK_SECONDS: Final = 1.0
"""Between two looks at the rules in memory, which cost nothing."""

_log = get_logger()


class Round(Protocol):
    """One round over all pending events."""

    is_complete: bool
    """As Reconciler.is_complete."""

    async def reconcile(self) -> int:
        """As Reconciler.reconcile."""
        ...


class Sweeping:
    """One per worker process; for the event loop's thread."""

    def __init__(
        self,
        *,
        table: RuleTable,
        rules: CurrentRules,
        new_round: Callable[[Callable[[Event], bool], Callable[[], bool]], Round],
        is_resting: Callable[[], bool],
    ) -> None:
        """`new_round` makes a round for the events that its first argument chooses; its second says when to rest."""
        self._table = table
        self._rules = rules
        self._new_round = new_round
        self._is_resting = is_resting

    async def run_forever(self) -> None:
        """Sweep what is due, until cancelled. Rests while nothing may be sent."""
        while True:
            await anyio.sleep(CHECK_SECONDS)
            if self._is_resting():
                continue
            try:
                await self.sweep_due()
            except EventLoggingError as error:
                _log.warning("sweep_failed", error=str(error))
            except Exception:  # noqa: BLE001 - a bug here must not end the worker
                _log.exception("sweep_crashed")

    async def sweep_due(self) -> int:
        """Sweep the rules that are due and that no other worker sweeps; returns how many.

        Raises:
            PublishFailedError, StorageUnavailableError: a sweep was cut off; it is due again.
        """
        now = self._rules.now
        due = [] if now is None else [rule for rule in self._rules.known if _is_due(rule, now)]
        done = 0
        for rule in due:
            if await self._table.begin_sweep(rule.rule_id, seconds=SWEEP_SECONDS):
                done += await self._sweep(rule)
        return done

    async def _sweep(self, rule: Rule) -> bool:
        """Sweep one rule; False if some events were not looked at, because it had to rest or met a bug."""
        fault_point("sweep_after_begin")
        failure: EventLoggingError | None = None
        published = 0
        sweep = self._new_round(rule.match.takes, self._is_resting)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._renew_forever, rule.rule_id)
            try:
                published = await sweep.reconcile()
            except EventLoggingError as error:  # raised below: the task group would wrap it
                failure = error
            tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure
        if not sweep.is_complete:
            return False
        fault_point("sweep_before_end")
        await self._table.end_sweep(rule.rule_id)
        _log.info("rule_swept", rule_id=rule.rule_id, action=rule.action.value, events=published)
        return True

    async def _renew_forever(self, rule_id: str) -> None:
        while True:
            await anyio.sleep(RENEW_SECONDS)
            try:
                await self._table.begin_sweep(rule_id, seconds=SWEEP_SECONDS, is_mine=True)
            except EventLoggingError as error:  # another worker may begin as well: events are published twice then
                _log.warning("sweep_not_renewed", rule_id=rule_id, error=str(error))


def _is_due(rule: Rule, now: datetime) -> bool:
    if rule.sweep_at is None or rule.swept_at is not None:
        return False
    is_free = rule.sweeping_until is None or rule.sweeping_until <= now
    return is_free and rule.sweep_at + timedelta(seconds=SETTLING_SECONDS) <= now
