"""The worker's composition root: opens its connections, and runs its parts (`worker/wiring.py`) until it is stopped."""

from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Final

import anyio

from shared.clock import SystemClock
from shared.events.dead_letter_table import DeadLetterTable
from shared.process.logs import get_logger
from shared.process.settings import WorkerSettings
from shared.pubsub import (
    open_publisher_client,
    open_subscriber_client,
)
from shared.spanner.connection import open_database
from shared.spanner.dead_letters import SpannerDeadLetterTable
from shared.spanner.schema import await_schema
from shared.telemetry.providers import Telemetry
from shared.telemetry.tracing import untraced
from worker.dead_letter_collector import DeadLetterCollector
from worker.disposition import ForwardBatch
from worker.held_messages import HeldMessages
from worker.lane_turns import LaneTurns
from worker.leases import Leases
from worker.levers import Levers
from worker.prefetch import Prefetcher
from worker.pull_loop import PullLoop
from worker.subscription import Subscription
from worker.suspects import Suspects
from worker.telemetry.batches import ObservedBatchHandler
from worker.telemetry.states import OpenDeadLetters, PendingAge
from worker.wiring import (
    Wiring,
    forward_ledger,
    new_forwarding,
    new_ports,
    new_reconciler,
    new_reporting,
    new_subscription,
    new_sweeping,
    new_wiring,
    statsig_forwarder,
)

FINISH_GRACE_SECONDS: Final = 3.5
"""For batches in work after SIGTERM. The rest (a last settlement, a release, the nacks, each of a second or so, and
closing the clients) mostly ends within 7 s, and within the 10 s after which Cloud Run kills."""

NACK_TIMEOUT_SECONDS: Final = 1.5
"""Bounds the nack of all leased messages when the process stops."""

Task = Callable[[], Coroutine[Any, Any, None]]

_log = get_logger()


async def run(settings: WorkerSettings, stopping: anyio.Event, telemetry: Telemetry | None = None) -> None:
    """Forward until `stopping` is set, then finish or nack what is in work.

    Long because it opens, runs and closes everything, in the order in which to read it.

    Raises:
        SchemaMismatchError: the database is not the one this code was written for.
        SettingsError: the Statsig key is not a server secret.
        StorageUnavailableError: Spanner did not answer in time (shared/spanner/schema.py).
    """
    clock = SystemClock()
    async with (
        open_database(settings, telemetry) as database,
        open_publisher_client(settings) as publisher_client,
        open_subscriber_client(settings) as subscriber_client,
        statsig_forwarder(settings, clock) as forwarder,
    ):
        with untraced():
            await await_schema(database, timeout_seconds=settings.commit_timeout_seconds)
        ledger = forward_ledger(database, settings)
        wiring = new_wiring(
            settings, telemetry, clock, stopping, new_ports(settings, ledger, forwarder, publisher_client)
        )
        with untraced():
            await wiring.rules.load()
        forward_subscription = new_subscription(subscriber_client, settings, settings.forward_subscription)
        leases = Leases(forward_subscription)
        dead_letter_table = SpannerDeadLetterTable(ledger.transactions, timeout_seconds=settings.commit_timeout_seconds)
        collector = DeadLetterCollector(
            subscription=new_subscription(subscriber_client, settings, settings.dead_letter_subscription),
            table=dead_letter_table,
            stopping=stopping,
        )
        reporting = new_reporting(wiring, database, ledger)
        work = [*_forwarding_tasks(wiring, forward_subscription, leases), collector.run]
        background: list[Task] = [
            leases.extend_forever,
            new_reconciler(wiring).run_forever,
            partial(wiring.rules.refresh_until, stopping),
            Levers(wiring.rules, wiring.circuit).run_forever,
            new_sweeping(wiring).run_forever,
            reporting.run_until_stopped,
            *_gauge_tasks(wiring, dead_letter_table),
        ]
        _log.info("worker_started", lanes=settings.lanes, process_id=reporting.process_id)
        with untraced():
            try:
                await _run_until_stopped(work, background, stopping)
            finally:
                with anyio.move_on_after(NACK_TIMEOUT_SECONDS, shield=True):
                    await leases.nack(leases.leased())


def _forwarding_tasks(wiring: Wiring, subscription: Subscription, leases: Leases) -> list[Task]:
    """The way of a message: prefetched, taken by a lane, forwarded; a suspect is tried alone."""
    settings = wiring.settings
    forwarding = new_forwarding(wiring)
    prefetcher = Prefetcher(
        subscription=subscription,
        leases=leases,
        circuit=wiring.circuit,
        stopping=wiring.stopping,
        pulls=settings.pulls,
        pull_messages=settings.batch_events,
        prefetch_messages=settings.pull_ahead_messages,
        position=wiring.position,
    )
    suspects = Suspects(
        try_alone=_traced(forwarding.try_alone, wiring.telemetry),
        leases=leases,
        circuit=wiring.circuit,
        clock=wiring.clock,
        stopping=wiring.stopping,
        backoff_seconds=settings.suspect_backoff_seconds,
        is_notorious=forwarding.is_notorious,
    )
    new_lane = partial(
        PullLoop,
        prefetcher=prefetcher,
        leases=leases,
        held=HeldMessages(),
        suspects=suspects,
        position=wiring.position,
        turns=LaneTurns(settings.lanes, circuit=wiring.circuit, clock=wiring.clock),
        circuit=wiring.circuit,
        batch_messages=settings.batch_events,
        stopping=wiring.stopping,
    )
    lanes = [
        new_lane(forward=_traced(forwarding.forward, wiring.telemetry))
        for _ in range(settings.lanes + settings.spare_lanes)
    ]
    return [prefetcher.run, *(lane.run for lane in lanes), suspects.run]


def _traced(forward: ForwardBatch, telemetry: Telemetry | None) -> ForwardBatch:
    return forward if telemetry is None else ObservedBatchHandler(forward, telemetry)


def _gauge_tasks(wiring: Wiring, dead_letter_table: DeadLetterTable) -> list[Task]:
    if wiring.telemetry is None:
        return []
    return [
        partial(PendingAge(wiring.ports.ledger, wiring.clock).watch_forever, wiring.telemetry),
        partial(OpenDeadLetters(dead_letter_table).watch_forever, wiring.telemetry),
    ]


async def _run_until_stopped(work: Sequence[Task], background: Sequence[Task], stopping: anyio.Event) -> None:
    """Run until `stopping` is set and the work has ended, or FINISH_GRACE_SECONDS are over; then cancel the rest."""
    async with anyio.create_task_group() as tasks:
        for task in background:
            tasks.start_soon(task)
        async with anyio.create_task_group() as working:
            for task in work:
                working.start_soon(task)
            await stopping.wait()
            working.cancel_scope.deadline = anyio.current_time() + FINISH_GRACE_SECONDS
        tasks.cancel_scope.cancel()
