"""Handles the events of a batch that Statsig did not confirm: dead-letters them, sets them aside, or leaves them."""

from collections.abc import Callable, Sequence
from typing import Final

from shared.backoff import exponential_backoff
from shared.clock import Clock
from shared.events.forward_ledger import DeliveryRecord
from shared.process.fault_points import fault_point
from worker.attempts import BatchAttempts, EventAttempts
from worker.batch import Batch, Claim
from worker.dead_lettering import DeadLettering
from worker.disposition import Disposition
from worker.poison import PoisonDetector, Suspicion, reason_of
from worker.settling import Settling
from worker.statsig.outcome import SendVerdict

DEAD_LETTER_MARGIN_SECONDS: Final = 1.0
"""Left of a claim when an event is given up, and when its dead letter is published: enough for a publish and a commit
in normal times. Another worker may have the event once the claim has ended."""

MAX_BACKOFF_FACTOR: Final = 64.0
"""The wait before a suspect's next trial doubles with each of its failures, up to this multiple of the first."""


class UnconfirmedEvents:
    """Judges them and acts on it. Used by all lanes of a process."""

    def __init__(
        self,
        *,
        settling: Settling,
        dead_lettering: DeadLettering,
        poison: PoisonDetector,
        clock: Clock,
        suspect_backoff_seconds: float,
    ) -> None:
        self._settling = settling
        self._dead_lettering = dead_lettering
        self._poison = poison
        self._clock = clock
        self._suspect_backoff_seconds = suspect_backoff_seconds

    async def handle(self, batch: Batch, attempts: BatchAttempts, unsettled: set[str]) -> None:
        """Dead-letter poison and set suspects aside, and take both out of `unsettled`.

        Of the others nothing is known: the caller releases their claims.
        """
        by_suspicion = self._judge(batch, attempts)
        unsettled -= await self.dead_letter(batch, attempts, by_suspicion[Suspicion.POISON], reason_of)
        suspects = by_suspicion[Suspicion.SUSPECT]
        if batch.is_trial:  # a suspect stays one until it is confirmed
            suspects += [e for e in by_suspicion[Suspicion.UNDECIDED] if attempts.of[e].last_attempt_at is not None]
        await self._set_aside(batch, attempts, suspects)
        unsettled.difference_update(suspects)

    def _judge(self, batch: Batch, attempts: BatchAttempts) -> dict[Suspicion, list[str]]:
        by_suspicion: dict[Suspicion, list[str]] = {suspicion: [] for suspicion in Suspicion}
        confirmed = {batch.events[event_id].event_name for event_id in attempts.with_verdict(SendVerdict.CONFIRMED)}
        for event_id, event in attempts.of.items():
            if event.outcome.verdict is SendVerdict.CONFIRMED:
                continue
            before = event.alone_failures
            by_suspicion[self._poison.judge(event)].append(event_id)
            name = batch.events[event_id].event_name
            if event.alone_failures > before and name not in confirmed:
                self._poison.failed_alone(name)
        return by_suspicion

    async def dead_letter(
        self,
        batch: Batch,
        attempts: BatchAttempts,
        event_ids: Sequence[str],
        reason: Callable[[EventAttempts], str],
    ) -> set[str]:
        """Give events up: note it, publish their dead letters, and settle them as DEAD.

        Returns the events for which all of it was done. What was only noted is finished by whoever claims it next.
        """
        if not event_ids or self._is_about_to_end(batch.claim):
            return set()
        records = [record for e in event_ids for record in attempts.records([e], reason=reason(attempts.of[e]))]
        given_up = await self._settling.give_up(records, batch.claim)
        fault_point("after_give_up")
        return await self.finish(batch, [record for record in records if record.event_id in given_up])

    async def finish(self, batch: Batch, records: Sequence[DeliveryRecord]) -> set[str]:
        """Publish the dead letters of events that were given up, then settle them as DEAD; returns what was settled."""
        if not records or self._is_about_to_end(batch.claim):
            return set()  # they come again: a dead letter now would only be the first of two
        if not await self._dead_lettering.publish_rejected(
            [(batch.messages[record.event_id][0], record) for record in records]
        ):
            return set()
        settled = await self._settling.settle_dead(records, batch.claim)
        batch.decide(settled, Disposition.ACK_DEAD)
        return settled

    def _is_about_to_end(self, claim: Claim) -> bool:
        return self._clock.monotonic() > claim.ends_at - DEAD_LETTER_MARGIN_SECONDS

    async def _set_aside(self, batch: Batch, attempts: BatchAttempts, event_ids: Sequence[str]) -> None:
        records = [
            record
            for event_id in event_ids
            for record in attempts.records([event_id], wait_seconds=self._backoff(attempts.of[event_id].alone_failures))
        ]
        await self._settling.release(records, batch.claim)
        batch.decide(event_ids, Disposition.SET_ASIDE)

    def _backoff(self, alone_failures: int) -> float:
        first = self._suspect_backoff_seconds
        return exponential_backoff(first, first * MAX_BACKOFF_FACTOR, alone_failures)
