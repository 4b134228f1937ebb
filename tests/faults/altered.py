"""`python -m tests.faults.altered WHAT PROGRAM`: ingress or worker with one thing about it changed.

It shows that the lab finds a missing guard, and runs a program with a wrong clock. The product has no switch for this:
its functions are replaced from outside, and then its own main runs.
"""

import runpy
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from types import SimpleNamespace
from typing import Any, Final, cast

from shared.clock import SystemClock
from shared.events.event import Event, EventLogRow
from shared.events.forward_ledger import ClaimOutcome, ClaimResult
from shared.events.republish_ledger import Marked, Reached
from shared.spanner import event_log
from shared.spanner.forward_ledger import SpannerForwardLedger
from shared.spanner.forward_ledger_rows import ClaimableRow
from shared.spanner.republish_ledger import SpannerRepublishLedger
from worker.attempts import BatchAttempts, EventAttempts
from worker.backlog_position import BacklogPosition
from worker.circuit import Circuit
from worker.poison import PoisonDetector, Suspicion
from worker.statsig.client import StatsigClient
from worker.statsig.outcome import SendOutcome, SendVerdict
from worker.subscription import PULL_TIMEOUT_SECONDS, PubSubSubscription, ReceivedMessage


def without_claim() -> None:
    """Claims always succeed: every worker that has a message of an event sends it."""

    async def claim(
        self: SpannerForwardLedger,
        event_ids: Sequence[str],
        *,
        token: str,
        seconds: float,
        own: Mapping[str, Collection[str]] | None = None,
    ) -> dict[str, ClaimResult]:
        del self, token, seconds, own
        return {event_id: ClaimResult(event_id, ClaimOutcome.CLAIMED) for event_id in event_ids}

    SpannerForwardLedger.claim = claim  # type: ignore[method-assign]


def without_born_pending() -> None:
    """The ledger row is written without `pending_since`, by which the reconciler finds it."""
    original = event_log._born_pending

    def born_unmarked(row: EventLogRow, shard: int) -> tuple[object, ...]:
        event_id, state, _pending_since, *rest = original(row, shard)
        return (event_id, state, None, *rest)

    event_log._born_pending = born_unmarked


def without_raise() -> None:
    """The SDK's callback records the outcome and returns, so that the SDK retries by itself."""
    original = StatsigClient._flushed

    def flushed(
        self: StatsigClient, success: bool, events: list[dict[str, Any]], status: int, error: Exception
    ) -> None:
        try:
            original(self, success, events, status, error)
        except Exception:  # noqa: BLE001 - whatever it raises is the guard
            return

    StatsigClient._flushed = flushed  # type: ignore[method-assign, assignment]


def without_ack_after_settle() -> None:
    """Messages are acknowledged as soon as they are pulled."""
    original = PubSubSubscription.pull

    async def pull(
        self: PubSubSubscription, *, max_messages: int, wait_seconds: float = PULL_TIMEOUT_SECONDS
    ) -> list[ReceivedMessage]:
        messages = await original(self, max_messages=max_messages, wait_seconds=wait_seconds)
        await self.acknowledge([message.ack_id for message in messages])
        return messages

    PubSubSubscription.pull = pull  # type: ignore[method-assign]


def without_count_unknowns() -> None:
    """An ambiguous outcome counts as not kept by Statsig."""
    original = BatchAttempts.learn

    def learn(self: BatchAttempts, outcomes: dict[str, SendOutcome]) -> None:
        original(self, outcomes)
        for event_id, outcome in outcomes.items():
            if outcome.verdict is SendVerdict.AMBIGUOUS:
                self.of[event_id].possible_duplicates -= 1

    BatchAttempts.learn = learn  # type: ignore[method-assign]


def without_give_up() -> None:
    """Nobody reads that an event was given up: whoever claims it next sends it again."""
    original = ClaimableRow.claimed_by

    def claimed_by(self: ClaimableRow, token: str, *, own: Mapping[str, Collection[str]], now: datetime) -> ClaimResult:
        return original(self._replace(given_up_reason=None), token, own=own, now=now)

    ClaimableRow.claimed_by = claimed_by  # type: ignore[method-assign]


def without_step_aside() -> None:
    """A suspect is nacked, to be pulled and tried with others again, instead of being set aside."""
    original = PoisonDetector.judge

    def judge(self: PoisonDetector, event: EventAttempts) -> Suspicion:
        suspicion = original(self, event)
        return Suspicion.UNDECIDED if suspicion is Suspicion.SUSPECT else suspicion

    PoisonDetector.judge = judge  # type: ignore[method-assign]
    PoisonDetector.is_notorious = lambda self, event_name: False  # type: ignore[method-assign]  # noqa: ARG005 - the signature


def without_relative_guilt() -> None:
    """An event that fails alone is poison, whether others are confirmed or not."""
    original = PoisonDetector.judge

    def judge(self: PoisonDetector, event: EventAttempts) -> Suspicion:
        self._circuit = cast("Circuit", SimpleNamespace(confirmed_since=lambda moment: True, open_reason=None))  # noqa: ARG005 - as above
        return original(self, event)

    PoisonDetector.judge = judge  # type: ignore[method-assign]


def without_mark_first() -> None:
    """A reconciler publishes the pending rows that it finds, also those that another one has marked."""
    original = SpannerRepublishLedger.mark_republished

    async def mark_republished(
        self: SpannerRepublishLedger,
        event_ids: Sequence[str],
        *,
        intervals: Sequence[float],
        force: bool = False,
        chosen: Callable[[Event], bool] | None = None,
        reached: Reached | None = None,
    ) -> list[Marked]:
        del force
        return await original(self, event_ids, intervals=intervals, force=True, chosen=chosen, reached=reached)

    SpannerRepublishLedger.mark_republished = mark_republished  # type: ignore[method-assign]


def without_backlog_position() -> None:
    """The reconciler does not know how far its worker has come."""
    BacklogPosition.current = property(lambda self: None)  # type: ignore[assignment,method-assign]  # noqa: ARG005 - as above


def clock_off_by(seconds: float) -> None:
    original = SystemClock.now_nanos
    SystemClock.now_nanos = lambda self: original(self) + int(seconds * 1e9)  # type: ignore[method-assign]


GUARDS: Final[dict[str, Callable[[], None]]] = {
    "claim": without_claim,
    "born_pending": without_born_pending,
    "raise": without_raise,
    "ack_after_settle": without_ack_after_settle,
    "count_unknowns": without_count_unknowns,
    "give_up": without_give_up,
    "step_aside": without_step_aside,
    "relative_guilt": without_relative_guilt,
    "mark_first": without_mark_first,
    "backlog_position": without_backlog_position,
}


def main() -> None:
    what, program = sys.argv[1:3]
    if what.startswith("clock="):
        clock_off_by(float(what.removeprefix("clock=")))
    else:
        GUARDS[what]()
    sys.argv = [program]
    runpy.run_module(program, run_name="__main__")


if __name__ == "__main__":
    main()
