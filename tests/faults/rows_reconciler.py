"""Fault rows of the reconciler (F20 to F25)."""

import time
from typing import Final

from tests.faults.client import OK
from tests.faults.lab import Lab
from tests.faults.past_ingress import insert_unpublishable
from tests.faults.row import Expectations, Row
from tests.faults.rows_worker import at, dying_worker
from tests.support.wire.tcp_proxy import Mode

CEILING: Final = 100
"""Events a second in the row that bounds the rate."""


async def three_after_an_outage(lab: Lab) -> None:
    async with lab.broken(Mode.BLACKHOLE, "ingress-pubsub"):
        await lab.hold(3.0)
        backlog = await lab.pending()
    await lab.until_true(lab.settled, "everything settled", 110)
    published = sum(line["events"] for name in lab.worker_names() for line in lab.logged(name, "reconciled"))
    lab.require(backlog > 0, "nothing was left to the reconcilers: no fault")
    lab.require(
        published <= 3 * max(backlog, len(await lab.stored())), f"{published} publishes for a backlog of {backlog}"
    )


async def still_down(lab: Lab) -> None:
    async with lab.broken(Mode.REFUSE, "pubsub"):
        began = time.monotonic()
        await lab.hold(6.0)
        seconds = time.monotonic() - began
        lines = len(lab.logged("worker-1", "reconcile_failed")) + len(lab.logged("worker-1", "pull_failed"))
        lab.require(lines <= 3 * seconds + 3, f"{lines} failed rounds in {seconds:.0f} s: a hot loop")


async def throttled_drain(lab: Lab) -> None:
    """Draining a backlog does not slow new calls."""
    async with lab.broken(Mode.REFUSE, "ingress-pubsub"):
        await lab.until_sent(0.6)
    healed = lab.healed_at = time.time()
    await lab.until_sent(1.0)
    await lab.until_true(lab.settled, "everything settled", 90)
    rounds = sum(line["events"] for line in lab.logged("worker-1", "reconciled"))
    rate = rounds / max(0.1, time.time() - healed)
    lab.require(rate <= 1.3 * CEILING, f"{rate:.0f} events/s republished, {CEILING} allowed")
    codes = {attempt.code for attempt in lab.client.attempts}
    lab.require(codes == {OK}, f"calls failed: {codes}")


async def racing(lab: Lab) -> None:
    """Statsig is slower than the events come, so that some are still unclaimed when the reconciler reads them."""
    await lab.statsig({"kind": "slow", "delay_seconds": 0.4})
    await lab.until_sent(1.0)
    await lab.statsig()
    rounds = sum(line["events"] for line in lab.logged("worker-1", "reconciled"))
    lab.require(rounds > 0, "the reconciler published nothing: no race")


async def unpublishable(lab: Lab) -> None:
    event_id = await insert_unpublishable(lab.database)
    await lab.until_sent(1.0)
    await lab.hold(8.0)
    letters = [letter for letter in await lab.dead_letters() if letter.event_id == event_id]
    lab.require(len(letters) >= 1, "a row that cannot be forwarded is no dead letter")
    lab.require(len(letters) <= 1, f"a row that cannot be forwarded became {len(letters)} dead letters and counting")
    await lab.forget_row(event_id)


RECONCILER_ROWS: Final = (
    Row(id="F20", title="worker killed after the claim, twice", fault=dying_worker("after_claim"),
        settings=at("after_claim")),
    Row(
        id="F21",
        title="three reconcilers after a Pub/Sub outage",
        fault=three_after_an_outage,
        workers=3,
        expect=Expectations(drain_seconds=110),
    ),
    Row(id="F22", title="Pub/Sub stays down for 6 s", fault=still_down),
    Row(
        id="F23",
        title=f"a backlog drained at {CEILING} events/s",
        fault=throttled_drain,
        settings={"RECONCILE_EVENTS_PER_SECOND": str(CEILING)},
        expect=Expectations(drain_seconds=60),
    ),
    Row(
        id="F24",
        title="the reconciler races with every publish",
        fault=racing,
        # Small batches, so that what was pulled waits unclaimed for a lane.
        settings={"RECONCILE_AFTER_SECONDS": "0.01", "RECONCILE_INTERVAL_SECONDS": "0.2", "BATCH_EVENTS": "20"},
        load_seconds=12.0,
        linger_seconds=1.0,
    ),
    Row(
        id="F25",
        title="a row that no worker can decode",
        fault=unpublishable,
        expect=Expectations(dead_letters={"undecodable": 1}),
    ),
)  # fmt: skip
