"""Fault rows of a wrong clock (F51): an hour off from the start, and one that steps while the process runs."""

import itertools
import time
from collections.abc import Iterator, Sequence
from typing import Final

import anyio

from deploy.local.statsig_stand_in import read_log
from shared.events.attempt_history import HistoryKind
from tests.faults.client import OK, Attempt
from tests.faults.lab import Lab
from tests.faults.row import Expectations, Row
from tests.faults.rows_ingress import AWAY, RESTARTS
from tests.faults.rows_worker import WORKER, published_again
from tests.faults.stepping_clock import step

HOUR: Final = 3600.0
STEPS: Final = (HOUR, -HOUR, 0.0)
"""The clocks' offsets, one after the other: forward, back beyond the right time, and forward to it."""

SLACK_SECONDS: Final = 0.05
"""The lab's uncertainty of when a clock was stepped."""

IN_FLIGHT_SECONDS: Final = 0.3
"""Statsig's delay: each claim lasts at least this long, in which it could be taken over too early."""

CLOCK_OF_ITS_OWN: Final = ("tests.faults.stepping_clock", "{run_dir}")

Steps = Sequence[tuple[float, float]]
"""Each step: when, and the clock's offset from then on."""


async def passing_time(lab: Lab) -> None:
    await lab.until_sent(0.9)


async def stepping(lab: Lab) -> None:
    """Steps the clocks of the ingress and of one of two workers, while both get each message."""
    await lab.statsig({"kind": "slow", "delay_seconds": IN_FLIGHT_SECONDS})
    steps: list[tuple[float, float]] = [(0.0, 0.0)]

    async def step_both(seconds: float) -> None:
        for name in ("ingress", WORKER):
            step(lab.stack.run_dir, lab.stack.processes[name].pid, seconds)
        steps.append((time.time(), seconds))
        await lab.hold(lab.random.uniform(0.3, 0.8))

    async def copies() -> None:
        await published_again(latest=30, times=1)(lab)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(copies)
        for seconds in itertools.cycle(STEPS):
            await step_both(seconds)
            if lab.client.started == lab.load.events:
                break
    await step_both(0.0)
    await lab.until_true(lab.settled, "everything settled under the fault", 110)
    await judge_times(lab, steps)


async def judge_times(lab: Lab, steps: Steps) -> None:
    lab_time = time.time()
    stored = await lab.stored()
    ids = {attempt.key: attempt.event_id for attempt in lab.client.attempts if attempt.code == OK}
    told: dict[str, set[float]] = {event_id: set() for event_id in ids.values()}
    # Any attempt on its key: one that was answered with an error may have written the row.
    for attempt in lab.client.attempts:
        if attempt.key in ids:
            event_id = ids[attempt.key]
            seconds = stored[event_id].event_ts_nanos / 1e9
            told[event_id] |= {by for by in offsets_during(attempt, steps) if is_told(seconds - by, attempt)}
    strange = [event_id for event_id, offsets in told.items() if not offsets]
    seen = set().union(*told.values())
    lab.require(not strange, f"{len(strange)} event_ts that no clock has shown: {', '.join(strange[:3])}")
    lab.require(seen == set(STEPS), f"events of clocks that are off by {sorted(seen)} only: no fault")
    assert lab.stack.statsig_log is not None
    for entry in read_log(lab.stack.statsig_log):
        event = stored[entry.event["metadata"]["event_id"]]
        lab.require(
            entry.event["time"] == event.event_ts_nanos // 1_000_000, f"another time at Statsig: {event.event_id}"
        )
    noted = [entry for event in stored.values() for entry in event.history]
    taken = sum(entry.kind is HistoryKind.TAKE_OVER for entry in noted)
    lab.require(taken == 0, f"{taken} claims were taken over although nobody died")
    # The time of an attempt is the worker's.
    ahead = {round((entry.at.timestamp() - lab_time) / HOUR) for entry in noted if entry.at is not None}
    lab.require(ahead == {-1, 0, 1}, f"attempts at hours {sorted(ahead)} only: the worker's clock did not step")


def offsets_during(attempt: Attempt, steps: Steps) -> Iterator[float]:
    """The clock's offsets at any time of the call."""
    ends = [*(began for began, _ in steps[1:]), float("inf")]
    for (began, offset), ended in zip(steps, ends, strict=True):
        if began - SLACK_SECONDS <= attempt.done_at and attempt.sent_at <= ended + SLACK_SECONDS:
            yield offset


def is_told(seconds: float, attempt: Attempt) -> bool:
    """Whether the ingress can have read this time within the call, given the clock's offsets."""
    return attempt.sent_at - SLACK_SECONDS <= seconds <= attempt.done_at + SLACK_SECONDS


def off_by(seconds: float) -> dict[str, tuple[str, ...]]:
    return {"worker": ("tests.faults.altered", f"clock={seconds:g}")}


CLOCK_ROWS: Final = (
    Row(id="F51", title="the worker's clock an hour ahead", fault=passing_time, wrappers=off_by(HOUR)),
    Row(id="F51b", title="the worker's clock an hour behind", fault=passing_time, wrappers=off_by(-HOUR)),
    Row(
        id="F51c",
        title="the clocks of the ingress and of one of two workers step by an hour, every message twice",
        fault=stepping,
        wrappers={"ingress": CLOCK_OF_ITS_OWN, "worker": CLOCK_OF_ITS_OWN},
        workers=2,
        load_seconds=12.0,
        linger_seconds=1.0,
        # The Spanner client bounds its retries of aborted transactions by time.time(): a step forward ends them.
        tries=RESTARTS,
        expect=Expectations(attempt_failures=AWAY),
    ),
)
