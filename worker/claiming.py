"""Claiming: which events of a batch may be sent now, and the disposition of the others."""

from collections.abc import Sequence
from typing import Final

import anyio

from shared.errors import StorageUnavailableError
from shared.events.forward_ledger import ClaimOutcome, ClaimResult, ForwardLedger, ForwardState
from shared.process.logs import get_logger
from worker.attempts import BatchAttempts
from worker.batch import Batch
from worker.circuit import Circuit
from worker.dead_lettering import DeadLettering
from worker.disposition import Disposition
from worker.poison import PoisonDetector
from worker.ruling import Ruling
from worker.settling import Settling

MISSING_ROW_DELIVERIES: Final = 3
"""Deliveries of a message without a ledger row before it is dead-lettered. The row is committed before the message is
published and read strongly, so one would do; the others allow for a restore or a fail-over in progress. A subscription
without native dead-lettering counts no deliveries (0), and then the first one must do."""

_DISPOSITIONS: Final = {
    ClaimOutcome.DELIVERED: Disposition.ACK,
    ClaimOutcome.DEAD: Disposition.ACK,
    ClaimOutcome.ERASED: Disposition.ACK,
    ClaimOutcome.CLAIMED_ELSEWHERE: Disposition.NACK,
    ClaimOutcome.WAITING: Disposition.SET_ASIDE_WAITING,
}

_log = get_logger()


class Claiming:
    """Claims the events of batches in the forward ledger, so that no two workers send the same one."""

    def __init__(
        self,
        *,
        ledger: ForwardLedger,
        settling: Settling,
        dead_lettering: DeadLettering,
        poison: PoisonDetector,
        ruling: Ruling,
        circuit: Circuit,
        claim_seconds: float,
    ) -> None:
        self._ledger = ledger
        self._settling = settling
        self._dead_lettering = dead_lettering
        self._poison = poison
        self._ruling = ruling
        self._circuit = circuit
        self._claim_seconds = claim_seconds

    async def claim(self, batch: Batch) -> list[ClaimResult]:
        """Claim what may be sent now, and decide the disposition of the other messages of `batch`.

        Outcomes that this process could not write earlier are written first. What cannot be written or claimed, because
        Spanner does not answer, is held. Suspects are set aside. What an operator's rule holds is not claimed. If this
        fails or is cancelled, claims are released.
        """
        settled_now, wanted = await self._settling.settle_remembered(batch.events)
        batch.decide(settled_now, Disposition.ACK)
        # Only this process knows that these are confirmed: after a nack another worker would send them again.
        batch.decide(batch.events.keys() - settled_now - wanted, Disposition.HOLD)
        wanted = self._ruling.hold(batch, wanted)
        if self._sets_aside(batch):
            notorious = {e for e in wanted if self._poison.is_notorious(batch.events[e].event_name)}
            batch.decide(notorious, Disposition.SET_ASIDE_UNTRIED)
            wanted -= notorious
        if not wanted:
            return []
        try:
            return await self._claimed(batch, await self._claim_or_hold(batch, wanted))
        except BaseException:
            with anyio.CancelScope(shield=True):  # bounded: one short try
                await self._settling.give_up_claim(wanted, batch.claim)
            raise

    async def _claimed(self, batch: Batch, results: dict[str, ClaimResult]) -> list[ClaimResult]:
        """Decide the disposition of what may not be sent; returns the rest."""
        by_outcome: dict[ClaimOutcome, list[ClaimResult]] = {outcome: [] for outcome in ClaimOutcome}
        for result in results.values():
            by_outcome[result.outcome].append(result)
        for outcome, disposition in _DISPOSITIONS.items():
            batch.decide([result.event_id for result in by_outcome[outcome]], disposition)
        if erased := by_outcome[ClaimOutcome.ERASED]:
            _log.info("erased_event_skipped", events=len(erased))
        await self._give_up_missing(batch, [result.event_id for result in by_outcome[ClaimOutcome.MISSING]])
        claimed = by_outcome[ClaimOutcome.CLAIMED]
        return await self._without_suspects(batch, claimed) if self._sets_aside(batch) else claimed

    def _sets_aside(self, batch: Batch) -> bool:
        """False in a trial, which is of a suspect, and in a probe, which tests the destination with what there is."""
        return not batch.is_trial and self._circuit.open_reason is None

    async def _claim_or_hold(self, batch: Batch, wanted: set[str]) -> dict[str, ClaimResult]:
        known = self._settling.known(wanted)
        own = {event_id: each.tokens for event_id, each in known.items()}
        try:
            results = await self._ledger.claim(
                sorted(wanted), token=batch.claim.token, seconds=self._claim_seconds, own=own
            )
        except StorageUnavailableError as error:
            _log.warning("claim_failed", events=len(wanted), error=str(error))
            await self._settling.give_up_claim(wanted, batch.claim)
            batch.decide(wanted, Disposition.HOLD)
            return {}
        resumed = {event_id for event_id, result in results.items() if result.is_resumed}
        # The others were claimed by another worker since, or the write was done and only its answer was lost.
        self._settling.forget(known.keys() - resumed)
        dead = {e for e in resumed if known[e].state is ForwardState.DEAD and known[e].record is not None}
        await self._settle_dead_lettered(batch, dead)
        batch.recalled = {e: record for e in resumed - dead if (record := known[e].record) is not None}
        return {event_id: result for event_id, result in results.items() if event_id not in dead}

    async def _settle_dead_lettered(self, batch: Batch, event_ids: set[str]) -> None:
        """Their dead letters are published and their DEAD could not be written: write it, and never send them again."""
        records = [known.record for known in self._settling.known(event_ids).values() if known.record is not None]
        settled = await self._settling.settle_dead(records, batch.claim)
        batch.decide(event_ids, Disposition.HOLD)
        batch.decide(settled, Disposition.ACK_DEAD)

    async def _without_suspects(self, batch: Batch, claimed: list[ClaimResult]) -> list[ClaimResult]:
        """Release the claims on suspects and set them aside; returns the others."""
        suspects = [result for result in claimed if result.is_suspect]
        attempts = BatchAttempts.starting_from(suspects, batch.recalled)
        event_ids = [result.event_id for result in suspects]
        batch.decide(event_ids, Disposition.SET_ASIDE)
        # What failed before and is recalled may be tried at once; the others keep the wait that the ledger has.
        records = [
            record
            for event_id in event_ids
            for record in attempts.records([event_id], wait_seconds=0.0 if event_id in batch.recalled else None)
        ]
        await self._settling.release(records, batch.claim)
        return [result for result in claimed if not result.is_suspect]

    async def _give_up_missing(self, batch: Batch, event_ids: Sequence[str]) -> None:
        """Dead-letter the messages of events that have had no row for several deliveries."""
        batch.decide(event_ids, Disposition.NACK)
        hopeless = [
            message
            for event_id in event_ids
            for message in batch.messages[event_id]
            if message.delivery_attempt == 0 or message.delivery_attempt >= MISSING_ROW_DELIVERIES
        ]
        if await self._dead_lettering.publish(hopeless, "row_missing"):
            batch.dispositions |= {message.ack_id: Disposition.ACK for message in hopeless}
