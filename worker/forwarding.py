"""The use case: forward a pulled batch. Decode, claim, send, settle; what the caller then does with each message.

Never settles before Statsig's answer; a message may be acknowledged only once its event is settled.
"""

import uuid
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

import anyio

from shared.clock import Clock
from shared.errors import StorageUnavailableError, UndecodableMessageError
from shared.events import forward_message
from shared.events.event import Event
from shared.events.forward_ledger import ClaimOutcome, ClaimResult, DeliveryRecord, ForwardLedger, ForwardState
from shared.events.statsig_projection import project
from shared.process.fault_points import fault_point
from shared.process.logs import get_logger, log_each
from shared.telemetry.tracing import TRACEPARENT
from worker.accounts import BatchAttempts
from worker.circuit import Circuit
from worker.dead_lettering import DeadLettering
from worker.delivery import Delivery
from worker.poison import PoisonDetector, Suspicion, reason_of
from worker.sending import Sending
from worker.settling import Claim, Settling
from worker.statsig.outcome import SendVerdict
from worker.subscription import ReceivedMessage

MISSING_ROW_DELIVERIES: Final = 3
"""Deliveries of a message without a ledger row before it is dead-lettered. The row is committed before the message is
published and read strongly, so one would do; the others are for a restore or a fail-over in progress."""

SETTLE_MARGIN_SECONDS: Final = 2.0
"""Of a claim, kept free for settling after the last attempt has ended."""

DEAD_LETTER_MARGIN_SECONDS: Final = 1.0
"""Of a claim, for a publish and a commit as they usually are: burying ends with the claim."""

LONGEST_SUSPECT_FACTOR: Final = 64.0
"""The pause before a suspect's next trial doubles with each of its failures, up to this many times the first."""

_log = get_logger()


class Disposition(StrEnum):
    """What becomes of a message now."""

    ACK = "ack"
    """Settled: acknowledge it."""

    NACK = "nack"
    """Give it back; it comes again after the subscription's backoff."""

    HOLD = "hold"
    """Not done, for no fault of its own: keep it leased, and bring it again when work is admitted. Given back it would
    wait for the subscription's backoff, which grows with each delivery."""

    SET_ASIDE = "set_aside"
    """A suspect: keep it leased, and bring it again alone, for a trial."""


ForwardBatch = Callable[[Sequence[ReceivedMessage]], Awaitable[dict[str, Disposition]]]
"""What a lane does with a batch: the disposition of each message by its ack_id."""


@dataclass(slots=True)
class Batch:
    """A batch on its way. Messages of one event share what becomes of it."""

    claim: Claim
    is_trial: bool
    dispositions: dict[str, Disposition] = field(default_factory=dict)
    """By ack_id."""

    messages: dict[str, list[ReceivedMessage]] = field(default_factory=dict)
    """By event_id."""

    events: dict[str, Event] = field(default_factory=dict)

    recalled: dict[str, DeliveryRecord] = field(default_factory=dict)
    """What this process tried under an earlier claim, could not write, and goes on from. By event_id."""

    def decide(self, event_ids: Iterable[str], disposition: Disposition) -> None:
        for event_id in event_ids:
            self.dispositions |= {message.ack_id: disposition for message in self.messages[event_id]}


class Forwarding:
    """Forwards batches. Safe to run in several lanes and processes at once: the ledger's claims keep them apart."""

    def __init__(
        self,
        *,
        ledger: ForwardLedger,
        sending: Sending,
        settling: Settling,
        burying: DeadLettering,
        guilt: PoisonDetector,
        circuit: Circuit,
        clock: Clock,
        claim_seconds: float,
        suspect_backoff_seconds: float,
    ) -> None:
        self._ledger = ledger
        self._sending = sending
        self._settling = settling
        self._burying = burying
        self._guilt = guilt
        self._circuit = circuit
        self._clock = clock
        self._claim_seconds = claim_seconds
        self._suspect_backoff_seconds = suspect_backoff_seconds

    async def forward(self, messages: Sequence[ReceivedMessage]) -> dict[str, Disposition]:
        """Forward what may be forwarded; the disposition of each message by its ack_id. Suspects step aside untried.

        Cancelled, it releases its claims, so that others need not wait for them to expire.
        """
        return await self._forward(messages, is_trial=False)

    async def try_alone(self, messages: Sequence[ReceivedMessage]) -> dict[str, Disposition]:
        """The same for one suspect: it is sent alone, once."""
        return await self._forward(messages, is_trial=True)

    async def _forward(self, messages: Sequence[ReceivedMessage], *, is_trial: bool) -> dict[str, Disposition]:
        started = self._clock.monotonic()
        batch = Batch(Claim(str(uuid.uuid4()), started + self._claim_seconds), is_trial)
        await self._decode(batch, messages)
        claimed = await self._claim(batch)
        if claimed:
            await self._forward_claimed(batch, claimed)
        _log.info(
            "batch_forwarded",
            messages=len(messages),
            events=len(batch.messages),
            claimed=len(claimed),
            trial=is_trial,
            seconds=round(self._clock.monotonic() - started, 3),
            **{
                disposition.value: sum(f is disposition for f in batch.dispositions.values())
                for disposition in Disposition
            },
        )
        return batch.dispositions

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
        disposition = (
            Disposition.ACK if await self._burying.publish(poison, UndecodableMessageError.reason) else Disposition.NACK
        )
        batch.dispositions |= {message.ack_id: disposition for message in poison}

    async def _claim(self, batch: Batch) -> list[ClaimResult]:
        """Claim what may be tried now and decide the disposition of the rest."""
        settled_now, wanted = await self._settling.settle_remembered(batch.events)
        batch.decide(settled_now, Disposition.ACK)
        batch.decide(batch.events.keys() - settled_now - wanted, Disposition.NACK)
        if self._sets_aside(batch):
            suspects = {e for e in wanted if self._guilt.is_notorious(batch.events[e].event_name)}
            batch.decide(suspects, Disposition.SET_ASIDE)
            wanted -= suspects
        if not wanted:
            return []
        entries = await self._claim_or_hold(batch, wanted)
        by_outcome: dict[ClaimOutcome, list[ClaimResult]] = {}
        for entry in entries.values():
            by_outcome.setdefault(entry.outcome, []).append(entry)
        for outcome, disposition in (
            (ClaimOutcome.DELIVERED, Disposition.ACK),
            (ClaimOutcome.DEAD, Disposition.ACK),
            (ClaimOutcome.CLAIMED_ELSEWHERE, Disposition.NACK),
            (ClaimOutcome.WAITING, Disposition.SET_ASIDE),
        ):
            batch.decide([entry.event_id for entry in by_outcome.get(outcome, [])], disposition)
        await self._give_up_missing(batch, [entry.event_id for entry in by_outcome.get(ClaimOutcome.MISSING, [])])
        return await self._without_suspects(batch, by_outcome.get(ClaimOutcome.CLAIMED, []))

    async def _claim_or_hold(self, batch: Batch, wanted: set[str]) -> dict[str, ClaimResult]:
        known = self._settling.known(wanted)
        own = {event_id: each.tokens for event_id, each in known.items()}
        try:
            entries = await self._ledger.claim(
                sorted(wanted), token=batch.claim.token, seconds=self._claim_seconds, own=own
            )
        except StorageUnavailableError as error:
            _log.warning("claim_failed", events=len(wanted), error=str(error))
            await self._settling.give_up_claim(wanted, batch.claim)
            batch.decide(wanted, Disposition.HOLD)
            return {}
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await self._settling.give_up_claim(wanted, batch.claim)
            raise
        resumed = {event_id for event_id, entry in entries.items() if entry.is_resumed}
        self._settling.forget(known.keys() - resumed)  # somebody else has gone on from there
        buried = [
            each.attempt
            for event_id, each in known.items()
            if event_id in resumed and each.state is ForwardState.DEAD and each.attempt is not None
        ]
        settled = await self._settling.settle_dead(buried, batch.claim)
        batch.decide((each.event_id for each in buried), Disposition.NACK)  # never sent nor published again
        batch.decide(settled, Disposition.ACK)
        dead = {each.event_id for each in buried}
        batch.recalled = {e: attempt for e in resumed - dead if (attempt := known[e].attempt) is not None}
        return {event_id: entry for event_id, entry in entries.items() if event_id not in dead}

    async def _without_suspects(self, batch: Batch, claimed: list[ClaimResult]) -> list[ClaimResult]:
        if not self._sets_aside(batch):
            return claimed
        suspects = [entry.event_id for entry in claimed if entry.is_suspect]
        batch.decide(suspects, Disposition.SET_ASIDE)
        accounts = BatchAttempts.starting_from((entry for entry in claimed if entry.is_suspect), batch.recalled)
        attempts = [
            attempt
            for event_id in suspects
            for attempt in accounts.attempts([event_id], wait_seconds=0.0 if event_id in batch.recalled else None)
        ]
        await self._settling.release(attempts, batch.claim)
        return [entry for entry in claimed if not entry.is_suspect]

    def _sets_aside(self, batch: Batch) -> bool:
        """Not a trial, which is of a suspect, nor a probe: whatever it carries, it is to tell of the destination."""
        return not batch.is_trial and self._circuit.open_reason is None

    async def _give_up_missing(self, batch: Batch, event_ids: Sequence[str]) -> None:
        batch.decide(event_ids, Disposition.NACK)
        hopeless = [
            message
            for event_id in event_ids
            for message in batch.messages[event_id]
            if message.delivery_attempt == 0 or message.delivery_attempt >= MISSING_ROW_DELIVERIES
        ]
        if await self._burying.publish(hopeless, "row_missing"):
            batch.dispositions |= {message.ack_id: Disposition.ACK for message in hopeless}

    async def _forward_claimed(self, batch: Batch, claimed: Sequence[ClaimResult]) -> None:
        accounts = BatchAttempts.starting_from(claimed, batch.recalled)
        if batch.is_trial:
            now = datetime.fromtimestamp(self._clock.now_nanos() / 1e9, UTC)
            accounts.failed_before(now, self._clock.monotonic())
        log_each(_log, "event_claimed", (entry.event_id for entry in claimed))
        fault_point("after_claim")
        unsettled = set(accounts.of)

        async def settle(event_ids: Sequence[str]) -> None:
            for event_id in event_ids:
                self._guilt.confirmed(batch.events[event_id].event_name)
            if await self._settling.settle_delivered(accounts.attempts(event_ids), batch.claim):
                fault_point("after_settle")
                batch.decide(event_ids, Disposition.ACK)
                unsettled.difference_update(event_ids)

        async def note(event_ids: Sequence[str]) -> set[str]:
            return await self._settling.note(accounts.attempts(event_ids), batch.claim)

        try:
            await self._sending.send(
                [project(batch.events[entry.event_id]).event for entry in claimed],
                Delivery(
                    accounts=accounts,
                    deadline=batch.claim.ends_at - SETTLE_MARGIN_SECONDS,
                    note=note,
                    confirmed=settle,
                    is_trial=batch.is_trial,
                ),
            )
            await self._judge(batch, accounts, unsettled)
        finally:
            # Also when cancelled; then within a bound, since the process is ending.
            batch.decide(unsettled, Disposition.HOLD)
            with anyio.CancelScope(shield=True):
                confirmed = unsettled & set(accounts.with_verdict(SendVerdict.CONFIRMED))
                # Never released: were it claimed again it would be sent again. At worst its claim expires.
                await self._settling.settle_at_the_end(accounts.attempts(confirmed), batch.claim)
                buried = {e for e, each in self._settling.known(unsettled).items() if each.state is ForwardState.DEAD}
                await self._settling.release(accounts.attempts(unsettled - confirmed - buried), batch.claim)

    async def _judge(self, batch: Batch, accounts: BatchAttempts, unsettled: set[str]) -> None:
        """Bury who is guilty, let the suspects step aside; what is settled or released is taken out of `unsettled`."""
        rulings: dict[Suspicion, list[str]] = {}
        confirmed = {batch.events[event_id].event_name for event_id in accounts.with_verdict(SendVerdict.CONFIRMED)}
        for event_id, account in accounts.of.items():
            if account.outcome.verdict is not SendVerdict.CONFIRMED:
                before = account.alone_failures
                rulings.setdefault(self._guilt.judge(account), []).append(event_id)
                name = batch.events[event_id].event_name
                if account.alone_failures > before and name not in confirmed:
                    self._guilt.failed_alone(name)
        unsettled -= await self._dead_letter(batch, accounts, rulings.get(Suspicion.GUILTY, []))
        suspects = rulings.get(Suspicion.SUSPECT, [])
        if batch.is_trial:  # it stays one until it is confirmed
            undecided = rulings.get(Suspicion.UNDECIDED, [])
            suspects = suspects + [e for e in undecided if accounts.of[e].last_attempt_at is not None]
        attempts = [
            attempt for e in suspects for attempt in accounts.attempts([e], wait_seconds=self._wait(accounts, e))
        ]
        await self._settling.release(attempts, batch.claim)
        batch.decide(suspects, Disposition.SET_ASIDE)
        unsettled.difference_update(suspects)

    def _wait(self, accounts: BatchAttempts, event_id: str) -> float:
        factor = 2.0 ** min(max(accounts.of[event_id].alone_failures - 1, 0), 10)
        return self._suspect_backoff_seconds * min(factor, LONGEST_SUSPECT_FACTOR)

    async def _dead_letter(self, batch: Batch, accounts: BatchAttempts, guilty: Sequence[str]) -> set[str]:
        """Dead-letter, settle, in that order; the events for which both were done."""
        if not guilty or self._clock.monotonic() > batch.claim.ends_at - DEAD_LETTER_MARGIN_SECONDS:
            return set()  # they come again: a dead letter now would only be the first of two
        attempts = [a for e in guilty for a in accounts.attempts([e], reason=reason_of(accounts.of[e]))]
        if not await self._burying.publish_rejected(
            [(batch.messages[attempt.event_id][0], attempt) for attempt in attempts]
        ):
            return set()
        settled = await self._settling.settle_dead(attempts, batch.claim)
        batch.decide(settled, Disposition.ACK)
        return settled
