"""The composition root of the worker: the one place that knows concrete classes."""

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

import anyio
import stamina

from shared.clock import SystemClock
from shared.errors import StorageUnavailableError
from shared.process.logs import get_logger
from shared.process.process_states import Role
from shared.process.reporting import Reporting
from shared.process.settings import WorkerSettings
from shared.pubsub import (
    PubSubPublisher,
    open_publisher_client,
    open_subscriber_client,
    subscription_path,
    topic_path,
)
from shared.spanner.connection import open_database
from shared.spanner.dead_letters import SpannerDeadLetterTable
from shared.spanner.forward_ledger import SpannerForwardLedger
from shared.spanner.process_states import SpannerProcessStates
from shared.spanner.republish_ledger import SpannerRepublishLedger
from shared.spanner.schema import check_schema
from shared.telemetry.providers import Telemetry
from shared.telemetry.tracing import untraced
from worker.circuit import Circuit
from worker.dead_letter_collector import DeadLetterCollector
from worker.dead_letter_publisher import DeadLetterPublisher
from worker.dead_lettering import DeadLettering
from worker.forwarding import ForwardBatch, Forwarding
from worker.held_messages import HeldMessages
from worker.lane_turns import LaneTurns
from worker.leases import Leases
from worker.poison import PoisonDetector
from worker.prefetch import Prefetcher
from worker.pull_loop import PullLoop
from worker.reconciler import Reconciler
from worker.reporting import taken
from worker.sending import MORE_REQUESTS, Sending
from worker.settling import Settling
from worker.statsig.client import StatsigClient
from worker.statsig.forwarder import SdkStatsigForwarder
from worker.statsig.requests import RequestSize
from worker.subscription import PubSubSubscription
from worker.suspects import TRIALS_AT_ONCE, Suspects
from worker.tally import Tally
from worker.telemetry.batches import ObservedBatchHandler
from worker.telemetry.ports import Ports, observed
from worker.telemetry.states import OpenLetters, PendingAge, observe_circuit

START_PATIENCE_SECONDS: Final = 30.0
"""How long a start waits for Spanner before the platform may try another instance."""

FINISH_SECONDS: Final = 3.5
"""For batches in work after SIGTERM. What follows (a last settlement, a release, handing back, each of a second or so,
and closing the clients) mostly ends within 7 s, and within the 10 s after which Cloud Run kills."""

HAND_BACK_SECONDS: Final = 1.5
"""For giving back what is held when the process stops."""

PUBLISH_SECONDS: Final = 10.0
"""For publishes for which nobody waits: dead letters and reconciling."""

Task = Callable[[], Coroutine[Any, Any, None]]

REPUBLISH_SECONDS: Final = 20.0
"""For one call of the reconciler, for which nobody waits either: a page of large events is read in 13 MB."""

_log = get_logger()


async def run(settings: WorkerSettings, stopping: anyio.Event, telemetry: Telemetry | None = None) -> None:
    """Forward until `stopping` is set, then finish or hand back what is in work.

    Raises:
        SchemaMismatchError: the database is not the one this code was written for.
        SettingsError: the Statsig key is not a server secret.
        StorageUnavailableError: Spanner did not answer within START_PATIENCE_SECONDS.
    """
    clock = SystemClock()
    new_lane = partial(
        StatsigClient,
        secret=settings.statsig_server_secret.get_secret_value(),
        api_url=settings.statsig_api_url,
        principal=settings.statsig_principal,
        environment=settings.statsig_environment,
        timeout_seconds=settings.statsig_timeout_seconds,
        clock=clock,
    )
    attempt_seconds = 2.0 * settings.statsig_timeout_seconds
    at_statsig = settings.lanes + settings.spare_lanes + TRIALS_AT_ONCE + MORE_REQUESTS
    async with (
        open_database(settings, telemetry) as database,
        open_publisher_client(settings) as publisher_client,
        open_subscriber_client(settings) as subscriber_client,
        SdkStatsigForwarder(new_lane, lanes=at_statsig, send_timeout_seconds=attempt_seconds) as forwarder,
    ):
        async for attempt in stamina.retry_context(
            on=StorageUnavailableError, attempts=None, timeout=START_PATIENCE_SECONDS
        ):
            with attempt, untraced():
                await check_schema(database, timeout_seconds=settings.commit_timeout_seconds)

        def publisher(topic: str) -> PubSubPublisher:
            path = topic_path(settings, topic)
            return PubSubPublisher(publisher_client, topic=path, timeout_seconds=PUBLISH_SECONDS)

        circuit = Circuit(clock, probe_seconds=settings.circuit_probe_seconds)
        tally = Tally(clock)
        ledger = SpannerForwardLedger(
            database,
            timeout_seconds=settings.commit_timeout_seconds,
            one_at_a_time=settings.spanner_emulator_host is not None,
            shards=settings.forward_shards,
            rows_at_once=settings.ledger_rows,
        )
        ports = Ports(
            ledger=ledger,
            republish_ledger=SpannerRepublishLedger(ledger.transactions, timeout_seconds=REPUBLISH_SECONDS),
            forwarder=forwarder,
            forward_topic=publisher(settings.forward_topic),
            dead_letter_topic=publisher(settings.dead_letter_topic),
        )
        if telemetry is not None:
            ports = observed(ports, telemetry, api_url=settings.statsig_api_url)
            observe_circuit(telemetry, circuit)
        dead_letters = DeadLetterPublisher(ports.dead_letter_topic)
        forwarding = Forwarding(
            ledger=ports.ledger,
            sending=Sending(
                forwarder=ports.forwarder,
                circuit=circuit,
                size=RequestSize(),
                clock=clock,
                stopping=stopping,
                budget_seconds=settings.retry_budget_seconds,
                attempt_seconds=attempt_seconds,
                tally=tally,
            ),
            settling=Settling(ports.ledger, clock, tally=tally),
            burying=DeadLettering(dead_letters, clock),
            guilt=PoisonDetector(circuit, suspect_attempts=settings.suspect_attempts),
            circuit=circuit,
            clock=clock,
            claim_seconds=settings.claim_seconds,
            suspect_backoff_seconds=settings.suspect_backoff_seconds,
        )

        def observed_forward(forward: ForwardBatch) -> ForwardBatch:
            return forward if telemetry is None else ObservedBatchHandler(forward, telemetry)

        subscription = PubSubSubscription(
            subscriber_client, subscription=subscription_path(settings, settings.forward_subscription)
        )
        leases = Leases(subscription)
        suspects = Suspects(
            try_alone=observed_forward(forwarding.try_alone),
            leases=leases,
            circuit=circuit,
            clock=clock,
            stopping=stopping,
            backoff_seconds=settings.suspect_backoff_seconds,
        )
        pulling = Prefetcher(
            subscription=subscription,
            leases=leases,
            circuit=circuit,
            stopping=stopping,
            pulls=settings.pulls,
            pull_messages=settings.batch_events,
            ahead_messages=settings.pull_ahead_messages,
        )
        turns = LaneTurns(settings.lanes, circuit=circuit, clock=clock)
        parked = HeldMessages()
        lanes = [
            PullLoop(
                pulling=pulling,
                leases=leases,
                parked=parked,
                suspects=suspects,
                turns=turns,
                circuit=circuit,
                forward=observed_forward(forwarding.forward),
                batch_messages=settings.batch_events,
                stopping=stopping,
            )
            for _ in range(settings.lanes + settings.spare_lanes)
        ]
        reconciler = Reconciler(
            ledger=ports.ledger,
            republish_ledger=ports.republish_ledger,
            is_resting=lambda: circuit.open_reason is not None,
            publisher=ports.forward_topic,
            dead_letters=dead_letters,
            after_seconds=settings.reconcile_after_seconds,
            interval_seconds=settings.reconcile_interval_seconds,
            events_per_second=settings.reconcile_events_per_second,
            shards=settings.forward_shards,
        )
        letters = SpannerDeadLetterTable(ledger.transactions, timeout_seconds=settings.commit_timeout_seconds)
        collecting = DeadLetterCollector(
            subscription=PubSubSubscription(
                subscriber_client, subscription=subscription_path(settings, settings.dead_letter_subscription)
            ),
            table=letters,
            stopping=stopping,
        )
        reporting = Reporting(
            states=SpannerProcessStates(database, timeout_seconds=settings.commit_timeout_seconds),
            role=Role.WORKER,
            look=partial(taken, tally, circuit, ledger),
            clock=clock,
            stopping=stopping,
        )
        background: list[Task] = [
            leases.extend_forever,
            reconciler.run_forever,
            reporting.run_until_stopped,
        ]
        if telemetry is not None:
            background.append(partial(PendingAge(ports.ledger, clock).watch_forever, telemetry))
            background.append(partial(OpenLetters(letters).watch_forever, telemetry))
        _log.info("worker_started", lanes=settings.lanes, process_id=reporting.process_id)
        with untraced():
            try:
                await _run_until_stopped(
                    [pulling.run, *(lane.run for lane in lanes), suspects.run, collecting.run], background, stopping
                )
            finally:
                with anyio.move_on_after(HAND_BACK_SECONDS, shield=True):
                    await leases.nack(leases.leased())


async def _run_until_stopped(work: list[Task], background: list[Task], stopping: anyio.Event) -> None:
    async with anyio.create_task_group() as tasks:
        for task in background:
            tasks.start_soon(task)
        async with anyio.create_task_group() as working:
            for task in work:
                working.start_soon(task)
            await stopping.wait()
            working.cancel_scope.deadline = anyio.current_time() + FINISH_SECONDS
        tasks.cancel_scope.cancel()
