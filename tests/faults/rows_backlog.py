"""Fault rows of a large backlog: of unpublished rows before a worker starts (F58), and of messages (F65)."""

import signal
import time
from collections.abc import Iterator
from typing import Final

from shared.events.event import EventLogRow
from tests.faults.lab import Lab
from tests.faults.message_count import counted_messages
from tests.faults.past_ingress import insert_pending
from tests.faults.row import Expectations, Row
from tests.support.sample_events import sample_event, sample_row

BACKLOG: Final = 100_000
BACKLOG_SHARE: Final = 10
"""Rows for each event of the run, up to BACKLOG; with --full always BACKLOG."""

ROWS_OF_A_COMMIT: Final = 500
"""About 12,000 of the 80,000 mutations that Spanner takes; the emulator is no faster with more."""

DRAINED_PER_SECOND: Final = 200.0
"""The least events a second of three workers. They take a tenth of the time; the emulators on two cores the rest."""

TOO_MANY: Final = 1.01
"""The most republished events for each row. The reconcilers publish each once; without `mark_first` 1.06 to 1.17."""

SLOW_SECONDS: Final = 0.9
"""The time of a request in F65, within STATSIG_TIMEOUT_SECONDS: one lane sends 50 events a second."""

TOO_MANY_OF_A_BACKLOG: Final = 1.1
"""The most messages for each event that waits in a backlog. One, and a second for those whose first message is passed:
Pub/Sub keeps no order. Without `backlog_position` 2.7."""

AFTER_SECONDS: Final = 300.0
"""Seconds until a row is republished first, and from then to the second time: longer than a backlog takes."""


async def backlog(lab: Lab) -> None:
    """The backlog is there when the workers start."""
    await lab.until_sent(1.0)
    # In the emulator a cancelled pull goes on, and takes messages: 12 of them were kept for longer than the row lasts.
    await lab.until_true(lab.settled, "the load settled", 30)
    for name in lab.worker_names():
        lab.stack.processes[name].send_signal(signal.SIGTERM)
        await lab.until_ended(name, 10)
    size = BACKLOG if lab.full else min(BACKLOG, BACKLOG_SHARE * lab.events)
    for rows in _commits(size):
        await insert_pending(lab.database, rows, age_seconds=2 * AFTER_SECONDS)
    began = time.monotonic()
    for name in lab.worker_names():
        await lab.restart(name)
    if await lab.until_true(lab.settled, "the backlog settled", 60 + size / DRAINED_PER_SECOND):
        lab.note(f"{size} rows at {size / (time.monotonic() - began):.0f} events/s")

    def republished() -> int:
        return sum(line["events"] for name in lab.worker_names() for line in lab.logged(name, "reconciled"))

    # The last of them are logged at the round's end, when the other shards are found empty.
    await lab.until(lambda: republished() >= size, f"the reconcilers published {size} events", 30)
    published = republished()
    most = TOO_MANY * (size + lab.load.events)
    lab.require(published <= most, f"the reconcilers published {published} events for {size} rows")


async def slow_worker(lab: Lab) -> None:
    """Every event waits for many times the reconciler's first interval, and its message with it."""
    async with counted_messages(lab.stack) as messages:
        await lab.statsig({"kind": "slow", "delay_seconds": SLOW_SECONDS})
        await lab.client.run(lab.load, prefix="backlog")
        pending = await lab.pending()
        lab.require(pending > lab.load.events / 2, f"{pending} events pending after the load: no backlog")
        await lab.until_true(lab.settled, "everything settled", 90)
        await lab.statsig()
    total, events = sum(messages.values()), len(messages)
    lab.note(f"{total} messages of {events} events, {max(messages.values(), default=0)} of one at most")
    lab.require(events >= lab.load.events, f"messages of {events} events only were seen")
    lab.require(total <= TOO_MANY_OF_A_BACKLOG * events, f"{total} messages of {events} events")


def _commits(size: int) -> Iterator[list[EventLogRow]]:
    for start in range(0, size, ROWS_OF_A_COMMIT):
        yield [
            sample_row(sample_event("backlog", actor_id=f"backlog-{start + number}"))
            for number in range(min(ROWS_OF_A_COMMIT, size - start))
        ]


BACKLOG_ROWS: Final = (
    Row(
        id="F58",
        title="three reconcilers find 20,000 rows (full: 100,000)",
        fault=backlog,
        workers=3,
        load_share=0.1,
        load_seconds=2.0,
        settings={
            "RECONCILE_AFTER_SECONDS": f"{AFTER_SECONDS:g}",
            "BATCH_EVENTS": "500",
            "LANES": "2",
            "COMMIT_TIMEOUT_SECONDS": "10",
        },
        expect=Expectations(memory_growth_mib=250),
    ),
    Row(
        id="F65",
        title="a worker slower than the load: its messages wait for longer than the reconciler's first intervals",
        fault=slow_worker,
        load_share=0.5,
        load_seconds=2.0,
        expect=Expectations(drain_seconds=60),
    ),
)
