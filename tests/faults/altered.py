"""`python -m tests.faults.altered WHAT PROGRAM`: ingress or worker with one thing about it changed.

For showing that the lab notices when a guard is missing, and for a clock that is wrong. The product has no switch for
any of this: it is changed from outside, and then the product's own main runs.
"""

import runpy
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

from shared import event_log
from shared.clock import SystemClock
from shared.event import EventLogRow
from shared.forward_ledger import Entry, Standing
from shared.spanner_forward_ledger import SpannerForwardLedger
from worker.statsig_lane import StatsigLane
from worker.subscription import PULL_SECONDS, PubSubSubscription, ReceivedMessage


def without_claim() -> None:
    """Every event may be sent by whoever holds a message of it."""

    async def claim(
        self: SpannerForwardLedger, event_ids: Sequence[str], *, token: str, seconds: float
    ) -> dict[str, Entry]:
        del self, token, seconds
        return {event_id: Entry(event_id, Standing.CLAIMED) for event_id in event_ids}

    SpannerForwardLedger.claim = claim  # type: ignore[method-assign]


def without_born_pending() -> None:
    """The ledger row exists, but as one that nobody looks for."""
    original = event_log._born_pending

    def born_unmarked(row: EventLogRow) -> tuple[object, ...]:
        event_id, state, _pending_since, *rest = original(row)
        return (event_id, state, None, *rest)

    event_log._born_pending = born_unmarked


def without_raise() -> None:
    """The SDK's callback tells the outcome and returns, and the SDK goes on to its own retries."""
    original = StatsigLane._flushed

    def flushed(self: StatsigLane, success: bool, events: list[dict[str, Any]], status: int, error: Exception) -> None:
        try:
            original(self, success, events, status, error)
        except Exception:  # noqa: BLE001 - whatever it raises is the guard
            return

    StatsigLane._flushed = flushed  # type: ignore[method-assign, assignment]


def without_ack_after_settle() -> None:
    """Messages are acknowledged as soon as they are pulled."""
    original = PubSubSubscription.pull

    async def pull(
        self: PubSubSubscription, *, max_messages: int, wait_seconds: float = PULL_SECONDS
    ) -> list[ReceivedMessage]:
        messages = await original(self, max_messages=max_messages, wait_seconds=wait_seconds)
        await self.acknowledge([message.ack_id for message in messages])
        return messages

    PubSubSubscription.pull = pull  # type: ignore[method-assign]


def clock_off_by(seconds: float) -> None:
    original = SystemClock.now_nanos
    SystemClock.now_nanos = lambda self: original(self) + int(seconds * 1e9)  # type: ignore[method-assign]


GUARDS: Final[dict[str, Callable[[], None]]] = {
    "claim": without_claim,
    "born_pending": without_born_pending,
    "raise": without_raise,
    "ack_after_settle": without_ack_after_settle,
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
