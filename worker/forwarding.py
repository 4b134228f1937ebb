"""The use case: forward a batch of messages. Decode, claim, send, settle; then what to do with each message.

An event is settled only after Statsig's answer, and its message acked only after it is settled.
"""

import uuid
from collections.abc import Sequence
from typing import Final

import anyio

from shared.clock import Clock
from shared.errors import UndecodableMessageError
from shared.events import forward_message
from shared.events.forward_ledger import ClaimResult, ForwardLedger, ForwardState
from shared.events.statsig_projection import project
from shared.process.current_rules import CurrentRules
from shared.process.fault_points import fault_point
from shared.process.logs import get_logger, log_each
from shared.traceparent import TRACEPARENT
from worker.attempts import BatchAttempts, records_given_up
from worker.batch import Batch, Claim
from worker.circuit import Circuit
from worker.claiming import Claiming
from worker.dead_lettering import DeadLettering
from worker.delivery import Delivery
from worker.disposition import Disposition
from worker.poison import PoisonDetector
from worker.ruling import Ruling
from worker.sending import Sending
from worker.settling import Settling
from worker.statsig.outcome import SendVerdict
from worker.subscription import ReceivedMessage
from worker.unconfirmed import UnconfirmedEvents

SETTLE_MARGIN_SECONDS: Final = 2.0
"""Left of a claim when the last attempt has ended, for settling."""

_log = get_logger()


class Forwarding:
    """Forwards batches. Safe to run in several lanes and processes at once: claims keep them apart."""

    def __init__(
        self,
        *,
        ledger: ForwardLedger,
        sending: Sending,
        settling: Settling,
        dead_lettering: DeadLettering,
        poison: PoisonDetector,
        rules: CurrentRules,
        circuit: Circuit,
        clock: Clock,
        claim_seconds: float,
        suspect_backoff_seconds: float,
    ) -> None:
        self._sending = sending
        self._settling = settling
        self._dead_lettering = dead_lettering
        self._poison = poison
        self._clock = clock
        self._claim_seconds = claim_seconds
        self._suspect_backoff_seconds = suspect_backoff_seconds
        self._unconfirmed = UnconfirmedEvents(
            settling=settling,
            dead_lettering=dead_lettering,
            poison=poison,
            clock=clock,
            suspect_backoff_seconds=suspect_backoff_seconds,
        )
        self._ruling = Ruling(rules, self._unconfirmed)
        self._claiming = Claiming(
            ledger=ledger,
            settling=settling,
            dead_lettering=dead_lettering,
            poison=poison,
            ruling=self._ruling,
            circuit=circuit,
            claim_seconds=claim_seconds,
        )

    async def forward(self, messages: Sequence[ReceivedMessage]) -> dict[str, Disposition]:
        """Forward what may be forwarded; returns each message's disposition by its ack_id. Suspects are set aside.

        May take as long as a claim, and as long again while Spanner does not take settlements. When cancelled it
        releases its claims, so that no worker waits for them to expire.
        """
        return await self._forward(messages, is_trial=False)

    async def try_alone(self, messages: Sequence[ReceivedMessage]) -> dict[str, Disposition]:
        """Send one suspect alone, in one attempt; otherwise as `forward`."""
        return await self._forward(messages, is_trial=True)

    def is_notorious(self, event_name: str) -> bool:
        """Whether events of this name keep failing alone, so that new ones are set aside untried."""
        return self._poison.is_notorious(event_name)

    async def _forward(self, messages: Sequence[ReceivedMessage], *, is_trial: bool) -> dict[str, Disposition]:
        started = self._clock.monotonic()
        batch = Batch(Claim(str(uuid.uuid4()), started + self._claim_seconds), is_trial)
        await self._decode(batch, messages)
        claimed = await self._claiming.claim(batch)
        if claimed:
            await self._send_and_settle(batch, claimed)
        _log.info(
            "batch_forwarded",
            messages=len(messages),
            events=len(batch.messages),
            claimed=len(claimed),
            trial=is_trial,
            seconds=round(self._clock.monotonic() - started, 3),
            **{each.value: sum(d is each for d in batch.dispositions.values()) for each in Disposition},
        )
        return batch.dispositions

    async def _decode(self, batch: Batch, messages: Sequence[ReceivedMessage]) -> None:
        """Fill the batch with the messages' events; dead-letter those that are no forward messages."""
        undecodable: list[ReceivedMessage] = []
        for message in messages:
            try:
                event = forward_message.decode(message.data, traceparent=message.attributes.get(TRACEPARENT))
            except UndecodableMessageError as error:
                _log.warning("message_undecodable", message_id=message.message_id, error=str(error))
                undecodable.append(message)
                continue
            batch.events[event.event_id] = event
            batch.messages.setdefault(event.event_id, []).append(message)
        is_published = await self._dead_lettering.publish(undecodable, UndecodableMessageError.reason)
        disposition = Disposition.ACK if is_published else Disposition.NACK
        batch.dispositions |= {message.ack_id: disposition for message in undecodable}

    async def _send_and_settle(self, batch: Batch, claimed: Sequence[ClaimResult]) -> None:
        attempts = BatchAttempts.starting_from(claimed, batch.recalled)
        if batch.is_trial:
            now = self._clock.now()
            attempts.failed_before(now, self._clock.monotonic())
        log_each(_log, "event_claimed", (result.event_id for result in claimed))
        fault_point("after_claim")
        unsettled = set(attempts.of)
        try:
            given_up = records_given_up(claimed)
            unsettled -= await self._unconfirmed.finish(batch, given_up)
            sendable = attempts.without({record.event_id for record in given_up})
            to_send = sendable.without(await self._ruling.dead_letter(batch, sendable, unsettled))
            await self._sending.send(
                [project(batch.events[event_id]).event for event_id in to_send.of],
                self._delivery(batch, to_send, unsettled),
            )
            await self._unconfirmed.handle(batch, to_send, unsettled)
        finally:
            batch.decide(unsettled, Disposition.HOLD)
            with anyio.CancelScope(shield=True):  # bounded: each call below takes a second or so at most
                await self._release(batch, attempts, unsettled)

    def _delivery(self, batch: Batch, attempts: BatchAttempts, unsettled: set[str]) -> Delivery:
        """How the sender writes to the ledger; what it settles is taken out of `unsettled`."""

        async def settle(event_ids: Sequence[str]) -> None:
            for event_id in event_ids:
                self._poison.confirmed(batch.events[event_id].event_name, attempts.of[event_id].alone_failures)
            if await self._settling.settle_delivered(attempts.records(event_ids), batch.claim):
                fault_point("after_settle")
                batch.decide(event_ids, Disposition.ACK)
                unsettled.difference_update(event_ids)

        async def note(event_ids: Sequence[str]) -> set[str]:
            return await self._settling.note(attempts.records(event_ids), batch.claim)

        return Delivery(
            attempts=attempts,
            deadline=batch.claim.ends_at - SETTLE_MARGIN_SECONDS,
            note=note,
            settle_confirmed=settle,
            is_trial=batch.is_trial,
        )

    async def _release(self, batch: Batch, attempts: BatchAttempts, unsettled: set[str]) -> None:
        """Release what may be sent again.

        Confirmed events are not released: whoever claimed them would send them again. They are settled, or keep their
        claim. Events with a published dead letter keep it too.
        """
        confirmed = unsettled & set(attempts.with_verdict(SendVerdict.CONFIRMED))
        if await self._settling.settle_at_the_end(attempts.records(confirmed), batch.claim):
            batch.decide(confirmed, Disposition.ACK)
        dead = {e for e, known in self._settling.known(unsettled).items() if known.state is ForwardState.DEAD}
        # A trial that was cut off: its event stays a suspect, and is not sent with others.
        wait_seconds = self._suspect_backoff_seconds if batch.is_trial else None
        records = attempts.records(unsettled - confirmed - dead, wait_seconds=wait_seconds)
        await self._settling.release(records, batch.claim)
