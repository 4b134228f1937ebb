"""Builds the worker's parts from its settings; `worker/runtime.py` opens the connections and runs them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import anyio
from google.pubsub_v1 import PublisherAsyncClient, SubscriberAsyncClient

from shared.clock import Clock
from shared.events.event import Event
from shared.process.current_rules import CurrentRules
from shared.process.process_states import Role
from shared.process.reporting import Reporting
from shared.process.settings import WorkerSettings
from shared.pubsub import (
    PubSubPublisher,
    subscription_path,
    topic_path,
)
from shared.spanner.forward_ledger import SpannerForwardLedger
from shared.spanner.process_states import SpannerProcessStates
from shared.spanner.republish_ledger import SpannerRepublishLedger
from shared.spanner.rules import SpannerRuleTable
from shared.telemetry.providers import Telemetry
from worker.backlog_position import BacklogPosition
from worker.circuit import Circuit
from worker.dead_letter_publisher import DeadLetterPublisher
from worker.dead_lettering import DeadLettering
from worker.forwarding import Forwarding
from worker.poison import PoisonDetector
from worker.reconciler import Reconciler
from worker.reporting import take_report
from worker.sending import EXTRA_REQUESTS, Sending
from worker.settling import Settling
from worker.statsig.client import StatsigClient
from worker.statsig.forwarder import SdkStatsigForwarder, StatsigForwarder
from worker.statsig.requests import RequestSize
from worker.subscription import PubSubSubscription
from worker.suspects import TRIALS_AT_ONCE
from worker.sweeping import Sweeping
from worker.tally import Tally
from worker.telemetry.ports import Ports, observed
from worker.telemetry.states import observe_circuit

PUBLISH_TIMEOUT_SECONDS: Final = 10.0
"""Bounds a publish of dead letters or of the reconciler. No caller waits for it."""

REPUBLISH_TIMEOUT_SECONDS: Final = 20.0
"""Bounds one call of the reconciler to Spanner, for which no caller waits either: a page of large events is 13 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """What several parts of one worker process have in common."""

    settings: WorkerSettings
    telemetry: Telemetry | None
    clock: Clock
    stopping: anyio.Event
    circuit: Circuit
    tally: Tally
    position: BacklogPosition
    ports: Ports
    dead_letters: DeadLetterPublisher
    rules: CurrentRules


def _attempt_seconds(settings: WorkerSettings) -> float:
    """How long one attempt at Statsig may take, connect and read included."""
    return 2.0 * settings.statsig_timeout_seconds


def statsig_forwarder(settings: WorkerSettings, clock: Clock) -> SdkStatsigForwarder:
    new_client = partial(
        StatsigClient,
        secret=settings.statsig_server_secret.get_secret_value(),
        api_url=settings.statsig_api_url,
        principal=settings.statsig_principal,
        environment=settings.statsig_environment,
        timeout_seconds=settings.statsig_timeout_seconds,
        clock=clock,
    )
    requests_in_flight = settings.lanes + settings.spare_lanes + TRIALS_AT_ONCE + EXTRA_REQUESTS
    return SdkStatsigForwarder(
        new_client, max_clients=requests_in_flight, send_timeout_seconds=_attempt_seconds(settings)
    )


def forward_ledger(database: Any, settings: WorkerSettings) -> SpannerForwardLedger:
    return SpannerForwardLedger(
        database,
        timeout_seconds=settings.commit_timeout_seconds,
        one_at_a_time=settings.spanner_emulator_host is not None,
        shards=settings.forward_shards,
        rows_at_once=settings.ledger_rows,
    )


def new_subscription(client: SubscriberAsyncClient, settings: WorkerSettings, name: str) -> PubSubSubscription:
    return PubSubSubscription(client, subscription=subscription_path(settings, name))


def new_ports(
    settings: WorkerSettings,
    ledger: SpannerForwardLedger,
    forwarder: StatsigForwarder,
    publisher_client: PublisherAsyncClient,
) -> Ports:
    def publisher(topic: str) -> PubSubPublisher:
        path = topic_path(settings, topic)
        return PubSubPublisher(publisher_client, topic=path, timeout_seconds=PUBLISH_TIMEOUT_SECONDS)

    return Ports(
        ledger=ledger,
        republish_ledger=SpannerRepublishLedger(ledger.transactions, timeout_seconds=REPUBLISH_TIMEOUT_SECONDS),
        rules=SpannerRuleTable(ledger.transactions, timeout_seconds=settings.commit_timeout_seconds),
        forwarder=forwarder,
        forward_topic=publisher(settings.forward_topic),
        dead_letter_topic=publisher(settings.dead_letter_topic),
    )


def new_wiring(
    settings: WorkerSettings, telemetry: Telemetry | None, clock: Clock, stopping: anyio.Event, ports: Ports
) -> Wiring:
    circuit = Circuit(clock, probe_seconds=settings.circuit_probe_seconds)
    if telemetry is not None:
        ports = observed(ports, telemetry, api_url=settings.statsig_api_url)
        observe_circuit(telemetry, circuit)
    return Wiring(
        settings=settings,
        telemetry=telemetry,
        clock=clock,
        stopping=stopping,
        circuit=circuit,
        tally=Tally(clock),
        position=BacklogPosition(clock),
        ports=ports,
        dead_letters=DeadLetterPublisher(ports.dead_letter_topic),
        rules=CurrentRules(ports.rules, clock),
    )


def new_forwarding(wiring: Wiring) -> Forwarding:
    settings = wiring.settings
    return Forwarding(
        ledger=wiring.ports.ledger,
        sending=Sending(
            forwarder=wiring.ports.forwarder,
            circuit=wiring.circuit,
            size=RequestSize(),
            clock=wiring.clock,
            stopping=wiring.stopping,
            budget_seconds=settings.retry_budget_seconds,
            attempt_seconds=_attempt_seconds(settings),
            tally=wiring.tally,
        ),
        settling=Settling(wiring.ports.ledger, wiring.clock, tally=wiring.tally),
        dead_lettering=DeadLettering(wiring.dead_letters, wiring.clock),
        poison=PoisonDetector(wiring.circuit, wiring.clock, suspect_attempts=settings.suspect_attempts),
        rules=wiring.rules,
        circuit=wiring.circuit,
        clock=wiring.clock,
        claim_seconds=settings.claim_seconds,
        suspect_backoff_seconds=settings.suspect_backoff_seconds,
    )


def new_reconciler(wiring: Wiring) -> Reconciler:
    settings = wiring.settings
    return Reconciler(
        ledger=wiring.ports.ledger,
        republish_ledger=wiring.ports.republish_ledger,
        publisher=wiring.ports.forward_topic,
        dead_letters=wiring.dead_letters,
        is_resting=lambda: not wiring.circuit.admits_batches,
        reached=lambda: wiring.position.current,
        after_seconds=settings.reconcile_after_seconds,
        interval_seconds=settings.reconcile_interval_seconds,
        events_per_second=settings.reconcile_events_per_second,
        shards=settings.forward_shards,
    )


def new_sweeping(wiring: Wiring) -> Sweeping:
    settings = wiring.settings

    def new_round(chosen: Callable[[Event], bool], is_resting: Callable[[], bool]) -> Reconciler:
        return Reconciler(
            ledger=wiring.ports.ledger,
            republish_ledger=wiring.ports.republish_ledger,
            publisher=wiring.ports.forward_topic,
            dead_letters=wiring.dead_letters,
            is_resting=is_resting,
            after_seconds=0.0,
            interval_seconds=settings.reconcile_interval_seconds,
            events_per_second=settings.reconcile_events_per_second,
            shards=settings.forward_shards,
            first_interval_seconds=settings.reconcile_after_seconds,
            force=True,
            chosen=chosen,
        )

    return Sweeping(
        table=wiring.ports.rules,
        rules=wiring.rules,
        new_round=new_round,
        is_resting=lambda: not wiring.circuit.admits_batches,
    )


def new_reporting(wiring: Wiring, database: Any, ledger: SpannerForwardLedger) -> Reporting:
    return Reporting(
        states=SpannerProcessStates(database, timeout_seconds=wiring.settings.commit_timeout_seconds),
        role=Role.WORKER,
        look=partial(take_report, wiring.tally, wiring.circuit, ledger),
        clock=wiring.clock,
        stopping=wiring.stopping,
    )
