"""Applies operators' rules to a batch: holds events before they are claimed, and dead-letters claimed ones."""

from collections.abc import Iterable
from typing import Final

from shared.events.rules import RuleAction
from shared.process.current_rules import CurrentRules
from shared.process.logs import get_logger
from worker.attempts import BatchAttempts
from worker.batch import Batch
from worker.disposition import Disposition
from worker.unconfirmed import UnconfirmedEvents

RULE_REASON: Final = "rule"
"""The reason of a dead letter that a rule asked for."""

_log = get_logger()


class Ruling:
    """Used by all lanes of a process."""

    def __init__(self, rules: CurrentRules, unconfirmed: UnconfirmedEvents) -> None:
        self._rules = rules
        self._unconfirmed = unconfirmed

    def hold(self, batch: Batch, event_ids: set[str]) -> set[str]:
        """Decide the disposition of events that a rule holds; returns the others.

        A held event stays pending, and its message is acked: nacked or leased, thousands would go round for as long as
        the rule stands. It is published again when the rule ends (`worker/sweeping.py`). That happens once every
        process has heard of the end, so a process that may not have heard of it keeps its messages.
        """
        held = self._taken(RuleAction.HOLD, batch, event_ids)
        if held:
            batch.decide(held, Disposition.ACK if self._rules.are_fresh else Disposition.HOLD)
            _log.info("events_held_by_rule", events=len(held))
        return event_ids - held

    async def dead_letter(self, batch: Batch, attempts: BatchAttempts, unsettled: set[str]) -> set[str]:
        """Dead-letter the claimed events for which a rule asks, and take them out of `unsettled`.

        Returns all for which a rule asks: none of them may be sent. Those still in `unsettled` are to be released.
        """
        taken = self._taken(RuleAction.DEAD_LETTER, batch, attempts.of)
        if taken:
            settled = await self._unconfirmed.dead_letter(batch, attempts, sorted(taken), lambda _: RULE_REASON)
            unsettled.difference_update(settled)
            _log.info("events_dead_lettered_by_rule", events=len(settled))
        return taken

    def _taken(self, action: RuleAction, batch: Batch, event_ids: Iterable[str]) -> set[str]:
        """The events that a rule takes."""
        rules = self._rules.active
        if not rules.of(action):
            return set()
        return {event_id for event_id in event_ids if rules.first(action, batch.events[event_id]) is not None}
