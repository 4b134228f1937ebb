"""The use case: forward a pulled batch. Decode, claim, send, settle; what the caller then does with each message.

Never settles before Statsig's answer; a message may be acknowledged only once its event is settled.
"""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

import anyio

from shared import forward_message
from shared.clock import Clock
from shared.errors import PublishFailedError, StorageUnavailableError, UndecodableMessageError
from shared.event import Event
from shared.fault_points import fault_point
from shared.forward_ledger import Attempt, Entry, ForwardLedger, Standing
from shared.logs import get_logger
from shared.statsig_projection import project
from shared.telemetry.tracing import TRACEPARENT
from worker.circuit import Circuit
from worker.dead_letters import DeadLetter, DeadLetters
from worker.sending import NEVER_SENT, Sending, Sent
from worker.settling import Claim, Settling
from worker.statsig_outcome import Verdict
from worker.subscription import ReceivedMessage

MISSING_ROW_DELIVERIES: Final = 3
"""Deliveries of a message without a ledger row before it is dead-lettered. The row is committed before the message is
published and read strongly, so one would do; the others are for a restore or a fail-over in progress."""

SETTLE_MARGIN_SECONDS: Final = 2.0
"""Of a claim, kept free for settling after the last attempt has ended."""

BURY_MARGIN_SECONDS: Final = 1.0
"""Of a claim, for a publish and a commit as they usually are: burying ends with the claim."""

_log = get_logger()


class Fate(StrEnum):
    """What becomes of a message now."""

    DONE = "done"
    """Settled: acknowledge it."""

    LATER = "later"
    """Give it back; it comes again after the subscription's backoff."""

    HELD = "held"
    """The circuit is open: keep it leased and bring it again when work is admitted."""


@dataclass(slots=True)
class Batch:
    """A batch on its way. Messages of one event share what becomes of it."""

    token: str
    fates: dict[str, Fate] = field(default_factory=dict)
    """By ack_id."""

    messages: dict[str, list[ReceivedMessage]] = field(default_factory=dict)
    """By event_id."""

    events: dict[str, Event] = field(default_factory=dict)

    def decide(self, event_ids: Iterable[str], fate: Fate) -> None:
        for event_id in event_ids:
            self.fates |= {message.ack_id: fate for message in self.messages[event_id]}


class Forwarding:
    """Forwards batches. Safe to run in several lanes and processes at once: the ledger's claims keep them apart."""

    def __init__(
        self,
        *,
        ledger: ForwardLedger,
        sending: Sending,
        settling: Settling,
        dead_letters: DeadLetters,
        circuit: Circuit,
        clock: Clock,
        claim_seconds: float,
    ) -> None:
        self._ledger = ledger
        self._sending = sending
        self._settling = settling
        self._dead_letters = dead_letters
        self._circuit = circuit
        self._clock = clock
        self._claim_seconds = claim_seconds

    async def forward(self, messages: Sequence[ReceivedMessage]) -> dict[str, Fate]:
        """Forward what may be forwarded; the fate of each message by its ack_id.

        Cancelled, it releases its claims, so that others need not wait for them to expire.
        """
        batch = Batch(token=str(uuid.uuid4()))
        started = self._clock.monotonic()
        await self._decode(batch, messages)
        entries = await self._claim(batch)
        claimed = [entry for entry in entries.values() if entry.standing is Standing.CLAIMED]
        if claimed:
            await self._forward_claimed(batch, claimed, Claim(batch.token, started + self._claim_seconds))
        _log.info(
            "batch_forwarded",
            messages=len(messages),
            events=len(batch.messages),
            claimed=len(claimed),
            seconds=round(self._clock.monotonic() - started, 3),
            **{fate.value: sum(f is fate for f in batch.fates.values()) for fate in Fate},
        )
        return batch.fates

    async def _decode(self, batch: Batch, messages: Sequence[ReceivedMessage]) -> None:
        poison: list[ReceivedMessage] = []
        for message in messages:
            try:
                event = forward_message.decode(message.data, traceparent=message.attributes.get(TRACEPARENT))
            except UndecodableMessageError as error:
                _log.warning("message_undecodable", message_id=message.message_id, error=str(error))
                poison.append(message)
                continue
            batch.events[event.event_id] = event
            batch.messages.setdefault(event.event_id, []).append(message)
        letters = [self._letter(message, UndecodableMessageError.reason, None, 0) for message in poison]
        fate = Fate.DONE if await self._dead_letter(letters) else Fate.LATER
        batch.fates |= {message.ack_id: fate for message in poison}

    async def _claim(self, batch: Batch) -> dict[str, Entry]:
        """Claim what is pending and decide the fate of the rest."""
        settled_now, wanted = await self._settling.settle_remembered(batch.events)
        batch.decide(settled_now, Fate.DONE)
        batch.decide(batch.events.keys() - settled_now - wanted, Fate.LATER)
        if not wanted:
            return {}
        try:
            entries = await self._ledger.claim(sorted(wanted), token=batch.token, seconds=self._claim_seconds)
        except StorageUnavailableError as error:
            _log.warning("claim_failed", events=len(wanted), error=str(error))
            self._circuit.failed(error.reason)
            await self._release_unheard_of(batch, wanted)
            batch.decide(wanted, self._unsent())
            return {}
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await self._release_unheard_of(batch, wanted)
            raise
        self._circuit.recovered(StorageUnavailableError.reason)
        by_standing: dict[Standing, list[str]] = {}
        for entry in entries.values():
            by_standing.setdefault(entry.standing, []).append(entry.event_id)
        batch.decide(by_standing.get(Standing.DELIVERED, []), Fate.DONE)
        batch.decide(by_standing.get(Standing.DEAD, []), Fate.DONE)
        batch.decide(by_standing.get(Standing.HELD, []), Fate.LATER)
        await self._give_up_missing(batch, by_standing.get(Standing.MISSING, []))
        return entries

    async def _release_unheard_of(self, batch: Batch, event_ids: Iterable[str]) -> None:
        """A claim without an answer may stand all the same, and would keep everybody waiting until it expires."""
        untried = [Attempt(event_id, 0, 0, None, NEVER_SENT.reason, None, ()) for event_id in event_ids]
        await self._settling.release(untried, token=batch.token)

    async def _give_up_missing(self, batch: Batch, event_ids: Sequence[str]) -> None:
        batch.decide(event_ids, Fate.LATER)
        hopeless = [
            message
            for event_id in event_ids
            for message in batch.messages[event_id]
            if message.delivery_attempt == 0 or message.delivery_attempt >= MISSING_ROW_DELIVERIES
        ]
        if await self._dead_letter([self._letter(message, "row_missing", None, 0) for message in hopeless]):
            batch.fates |= {message.ack_id: Fate.DONE for message in hopeless}

    async def _forward_claimed(self, batch: Batch, claimed: Sequence[Entry], claim: Claim) -> None:
        sent = Sent.starting_from(claimed)
        for entry in claimed:
            _log.debug("event_claimed", event_id=entry.event_id)
        fault_point("after_claim")
        unsettled = {entry.event_id for entry in claimed}
        try:
            events = [project(batch.events[entry.event_id]).event for entry in claimed]
            await self._sending.send(events, sent, deadline=claim.ends_at - SETTLE_MARGIN_SECONDS)
            delivered = sent.with_verdict(Verdict.CONFIRMED)
            rejected = sent.with_verdict(Verdict.REJECTED)
            if await self._settling.settle_delivered(sent.attempts(delivered), claim):
                fault_point("after_settle")
                batch.decide(delivered, Fate.DONE)
                unsettled -= set(delivered)
            if self._circuit.admits_dead_letters(rejected=len(rejected), delivered=len(delivered)):
                unsettled -= await self._bury(batch, sent, rejected, claim)
        finally:
            # Also when cancelled; then within a bound, since the process is ending.
            batch.decide(unsettled, self._unsent())
            with anyio.CancelScope(shield=True):
                confirmed = unsettled & set(sent.with_verdict(Verdict.CONFIRMED))
                # Never released: were it claimed again it would be sent again. At worst its claim expires.
                await self._settling.settle_at_the_end(sent.attempts(confirmed), claim)
                await self._settling.release(sent.attempts(unsettled - confirmed), token=batch.token)

    async def _bury(self, batch: Batch, sent: Sent, rejected: Sequence[str], claim: Claim) -> set[str]:
        """Dead-letter, settle, in that order; the events for which both were done."""
        if self._clock.monotonic() > claim.ends_at - BURY_MARGIN_SECONDS:
            return set()  # they come again: a dead letter now would only be the first of two
        attempts = {attempt.event_id: attempt for attempt in sent.attempts(rejected)}
        letters = [
            self._letter(batch.messages[event_id][0], attempt.reason, attempt.status, attempt.attempts)
            for event_id, attempt in attempts.items()
        ]
        if not await self._dead_letter(letters):
            return set()
        # What is not settled comes again, is rejected again, and lies among the dead letters twice under one event_id.
        settled = await self._settling.settle_dead(list(attempts.values()), token=batch.token)
        batch.decide(settled, Fate.DONE)
        return settled

    async def _dead_letter(self, letters: Sequence[DeadLetter]) -> bool:
        try:
            await self._dead_letters.publish(letters)
        except PublishFailedError as error:
            _log.warning("dead_letter_publish_failed", messages=len(letters), error=str(error))
            return False
        if letters:
            fault_point("after_dead_letter_publish")
        for letter in letters:
            _log.warning(
                "message_dead_lettered",
                event_id=letter.message.attributes.get(forward_message.EVENT_ID_ATTRIBUTE),
                message_id=letter.message.message_id,
                reason=letter.reason,
                status=letter.status,
                traceparent=letter.message.attributes.get(TRACEPARENT),
            )
        return True

    def _letter(self, message: ReceivedMessage, reason: str, status: int | None, attempts: int) -> DeadLetter:
        at = datetime.fromtimestamp(self._clock.now_nanos() / 1e9, UTC)
        return DeadLetter(message, reason, status, attempts, at)

    def _unsent(self) -> Fate:
        return Fate.LATER if self._circuit.open_reason is None else Fate.HELD
