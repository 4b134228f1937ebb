"""Sends a claimed batch: requests, the search for poison in one that failed, and retries within a budget."""

import random
from collections.abc import Sequence
from functools import partial
from http import HTTPStatus
from typing import Final

import anyio

from shared.backoff import exponential_backoff
from shared.clock import Clock
from shared.concurrency import gathered
from shared.events.statsig_projection import StatsigEvent
from shared.process.fault_points import fault_point
from shared.process.logs import get_logger
from worker.circuit import Circuit
from worker.delivery import Delivery
from worker.statsig.forwarder import StatsigForwarder
from worker.statsig.outcome import NOT_SERIALIZABLE, SendOutcome, SendVerdict
from worker.statsig.requests import RequestSize, parts_of, split_into_requests
from worker.tally import Tally

FIRST_BACKOFF_SECONDS: Final = 0.5
LONGEST_BACKOFF_SECONDS: Final = 8.0
"""The bound of the pause after a failed request doubles from the first to this one. The pause is drawn from zero to the
bound (full jitter): lanes and workers that failed together do not retry together."""

EXTRA_REQUESTS: Final = 8
"""Requests in flight beyond one per batch, in all batches of a process. A search among 500 events of which five are bad
takes some 80 requests. In sequence, at 100 ms each, they would delay the good events by 8 s."""

RECENT_CONFIRMATION_SECONDS: Final = 1.0
"""A batch has several requests in flight only if something was confirmed within this time. With Statsig away they would
all fail, and each may leave copies."""

_log = get_logger()


class Sending:
    """Sends events to Statsig; independent of messages and ledger. Shared by all lanes of a process."""

    def __init__(
        self,
        *,
        forwarder: StatsigForwarder,
        circuit: Circuit,
        size: RequestSize,
        clock: Clock,
        stopping: anyio.Event,
        budget_seconds: float,
        attempt_seconds: float,
        rng: random.Random | None = None,
        tally: Tally | None = None,
    ) -> None:
        self._forwarder = forwarder
        self._circuit = circuit
        self._size = size
        self._clock = clock
        self._stopping = stopping
        self._budget_seconds = budget_seconds
        self._attempt_seconds = attempt_seconds
        self._random = rng or random.Random()  # noqa: S311 - jitter
        self._tally = tally or Tally(clock)
        self._extra_requests = EXTRA_REQUESTS

    async def send(self, events: Sequence[StatsigEvent], delivery: Delivery) -> None:
        """Send until each event is confirmed or has failed alone, or until it gives up; see `delivery.attempts`.

        A request that fails is divided until the events at fault are alone. An event that fails alone while others
        are confirmed is not retried here; while nothing is confirmed it is.

        It gives up when the next pause would exceed the budget, the circuit opens or is paused, the process stops, an
        earlier attempt cannot be noted, or no further attempt fits before the delivery's deadline: a process that stood
        still beyond its claim sends nothing.
        """
        give_up_at = self._clock.monotonic() + self._budget_seconds
        delivery.is_probe = is_probe = self._circuit.open_reason is not None
        if is_probe and len(events) > 1:
            return  # the circuit opened after the batch was pulled
        delivery.unsent = list(events)
        while delivery.unsent or delivery.parts or self._gather_what_failed_alone(delivery):
            if self._circuit.is_paused or (self._circuit.open_reason is not None and not is_probe):
                return
            if not await self._may_go_on(delivery, give_up_at):
                return
            requests = self._next_requests(delivery)
            self._extra_requests -= len(requests) - 1
            try:
                lost = await self._send_requests(requests, delivery)
            finally:
                self._extra_requests += len(requests) - 1
            if delivery.is_trial or is_probe or lost:
                return

    def _next_requests(self, delivery: Delivery) -> list[list[StatsigEvent]]:
        """One request, or several at once while Statsig confirms others."""
        is_confirming = not delivery.failures and self._circuit.confirmed_since(
            self._clock.monotonic() - RECENT_CONFIRMATION_SECONDS
        )
        count = 1 + self._extra_requests * (is_confirming and not delivery.is_trial and not delivery.is_probe)
        requests = [self._next_request(delivery)]
        while len(requests) < count and (delivery.parts or delivery.unsent):
            requests.append(self._next_request(delivery))
        return requests

    def _next_request(self, delivery: Delivery) -> list[StatsigEvent]:
        if delivery.parts:
            return delivery.parts.popleft()
        request = next(split_into_requests(delivery.unsent, self._size.events))
        delivery.unsent = delivery.unsent[len(request) :]
        return request

    def _gather_what_failed_alone(self, delivery: Delivery) -> bool:
        """Queue again what failed alone with nothing confirmed since; returns whether there is any."""
        again = [
            event
            for event in delivery.alone
            if not self._is_search_over(delivery.attempts.of[event.event_id].failing_since)
            and delivery.attempts.of[event.event_id].outcome.verdict is not SendVerdict.REJECTED
        ]
        delivery.alone.clear()
        delivery.parts.extend([event] for event in again)
        return bool(again)

    def _is_search_over(self, failing_since: float | None) -> bool:
        return failing_since is None or self._circuit.confirmed_since(failing_since)

    async def _may_go_on(self, delivery: Delivery, give_up_at: float) -> bool:
        """Wait for a pause that Statsig asked for and for the backoff after failures; returns False to give up."""
        pause = max(self._circuit.retry_after_remaining_seconds(), delivery.paused_until - self._clock.monotonic(), 0.0)
        if delivery.failures:
            bound = exponential_backoff(FIRST_BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS, delivery.failures)
            pause += self._random.uniform(0, bound)
        if pause:
            if self._clock.monotonic() + pause > min(give_up_at, delivery.deadline - self._attempt_seconds):
                return False
            with anyio.move_on_after(pause):
                await self._stopping.wait()
        return not self._stopping.is_set() and self._clock.monotonic() + self._attempt_seconds <= delivery.deadline

    async def _send_requests(self, requests: Sequence[list[StatsigEvent]], delivery: Delivery) -> set[str]:
        """Make the requests at the same time, without the events that may not be sent; returns these."""
        lost = await self._note_earlier_attempts(requests, delivery)
        ours = [[event for event in request if event.event_id not in lost] for request in requests]
        attempts = [partial(self._attempt, request, delivery) for request in ours if request]
        if attempts:
            await gathered(attempts)
        return lost

    async def _note_earlier_attempts(self, requests: Sequence[list[StatsigEvent]], delivery: Delivery) -> set[str]:
        """Write earlier attempts to the ledger; returns the events for which that failed, which may not be sent."""
        unwritten = delivery.attempts.not_durable(event.event_id for request in requests for event in request)
        if not unwritten:
            return set()
        written = await delivery.note(unwritten)
        delivery.attempts.made_durable(written)
        return set(unwritten) - written

    async def _attempt(self, request: Sequence[StatsigEvent], delivery: Delivery) -> None:
        began = self._clock.monotonic()
        if began + self._attempt_seconds > delivery.deadline:
            return  # the process may have been paused since the check before these requests
        delivery.attempts.begin((event.event_id for event in request), self._clock.now())
        fault_point("before_send")
        outcomes = await self._forwarder.send(request)
        delivery.attempts.learn(outcomes)
        confirmed: list[str] = []
        failed: list[StatsigEvent] = []
        for event in request:
            outcome = outcomes[event.event_id]
            if outcome.verdict is SendVerdict.CONFIRMED:
                confirmed.append(event.event_id)
            elif outcome is not NOT_SERIALIZABLE:
                # An event that the SDK cannot serialize is not in the request, and says nothing about the others.
                failed.append(event)
        if confirmed:
            fault_point("after_confirm")
            delivery.failures = 0
            self._circuit.confirmed()
            if not failed:
                self._size.confirmed(len(request))
            await delivery.settle(confirmed)
        if failed:
            self._failed(failed, outcomes[failed[0].event_id], began, delivery)

    def _failed(self, events: list[StatsigEvent], outcome: SendOutcome, began: float, delivery: Delivery) -> None:
        others_confirmed = self._circuit.confirmed_since(began)
        _log.warning(
            "attempt_failed",
            reason=outcome.reason,
            verdict=outcome.verdict.value,
            events=len(events),
            others_confirmed=others_confirmed,
        )
        self._tally.failed(outcome.reason)
        delivery.attempts.failed((event.event_id for event in events), began)
        is_transient = outcome.verdict is SendVerdict.TRANSIENT
        if outcome.verdict is not SendVerdict.REJECTED:
            delivery.failures = 0 if others_confirmed and not is_transient else delivery.failures + 1
        self._tell_circuit(outcome, delivery, others_confirmed=others_confirmed)
        if is_transient and not self._is_limited_again(events, outcome, delivery):
            delivery.parts.appendleft(events)
        elif len(events) == 1:
            delivery.attempts.of[events[0].event_id].failed_alone_at = began
            delivery.alone += events
        else:
            if not is_transient:
                self._size.failed(len(events))
            delivery.parts.extendleft(reversed(parts_of(events)))

    def _is_limited_again(self, events: list[StatsigEvent], outcome: SendOutcome, delivery: Delivery) -> bool:
        """Whether a request, or one that it is part of, was answered 429 before. An event may draw it then.

        The first 429 is about all requests: this one is made again whole, after the pause that Statsig asked for. With
        others confirmed the pause is this batch's alone, and short: a single bad event may draw it too.
        """
        if outcome.status != HTTPStatus.TOO_MANY_REQUESTS:
            return False
        is_again = events[0].event_id in delivery.limited
        delivery.limited.update(event.event_id for event in events)
        if not is_again:
            asked = min(outcome.retry_after_seconds or 0.0, LONGEST_BACKOFF_SECONDS)
            delivery.paused_until = max(delivery.paused_until, self._clock.monotonic() + asked)
        return is_again

    def _tell_circuit(self, outcome: SendOutcome, delivery: Delivery, *, others_confirmed: bool) -> None:
        if delivery.is_trial and not delivery.is_probe:
            return
        if outcome.verdict is SendVerdict.REJECTED:
            self._circuit.rejected(outcome.reason, is_probe=delivery.is_probe)
            return
        if outcome.verdict is SendVerdict.REFUSED and not others_confirmed:
            _log.error("statsig_refuses_us", reason=outcome.reason, status=outcome.status)
        # A pause holds for all lanes, and a single bad event may draw it.
        asked = None if others_confirmed else outcome.retry_after_seconds
        is_limit = outcome.status == HTTPStatus.TOO_MANY_REQUESTS
        self._circuit.failed(outcome.reason, asked, is_limit=is_limit, is_probe=delivery.is_probe)
