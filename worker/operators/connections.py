"""The composition root of the operators' commands: the one place here that knows concrete classes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from google.pubsub_v1 import PublisherAsyncClient, SubscriberAsyncClient

from shared.accounting import Accounting, SpannerAccounting
from shared.forward_ledger import ForwardLedger
from shared.pubsub import (
    Publisher,
    PubSubPublisher,
    open_publisher_client,
    open_subscriber_client,
    subscription_path,
    topic_path,
)
from shared.republish_ledger import RepublishLedger
from shared.settings import OperatorSettings
from shared.spanner import open_database
from shared.spanner_forward_ledger import SpannerForwardLedger
from shared.spanner_republishing import SpannerRepublishLedger
from shared.spanner_worker_states import SpannerWorkerStates
from shared.telemetry.providers import Telemetry
from shared.telemetry.publishing import ObservedPublisher
from shared.worker_states import WorkerStates
from worker.operators.records import Records
from worker.subscription import PubSubSubscription, Subscription

PUBLISH_SECONDS: Final = 10.0

REPUBLISH_SECONDS: Final = 20.0
"""For one page of `reconcile`, as in worker/runtime.py."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connections:
    """What commands work with; opened without I/O."""

    settings: OperatorSettings
    telemetry: Telemetry | None
    database: Any
    ledger: ForwardLedger
    republish_ledger: RepublishLedger
    records: Records
    accounting: Accounting
    worker_states: WorkerStates
    forward_topic: Publisher
    dead_letter_topic: Publisher
    dead_letters: Subscription
    publisher_client: PublisherAsyncClient
    subscriber_client: SubscriberAsyncClient


@asynccontextmanager
async def open_connections(
    settings: OperatorSettings, telemetry: Telemetry | None = None
) -> AsyncIterator[Connections]:
    """Connections to what the settings name, closed at the end."""
    async with (
        open_database(settings) as database,
        open_publisher_client(settings) as publisher_client,
        open_subscriber_client(settings) as subscriber_client,
    ):

        def publisher(topic: str) -> PubSubPublisher:
            path = topic_path(settings, topic)
            return PubSubPublisher(publisher_client, topic=path, timeout_seconds=PUBLISH_SECONDS)

        forward_topic: Publisher = publisher(settings.forward_topic)
        if telemetry is not None:
            forward_topic = ObservedPublisher(forward_topic, telemetry, topic="forward", role="operator")
        timeout = settings.commit_timeout_seconds
        ledger = SpannerForwardLedger(
            database, timeout_seconds=timeout, one_at_a_time=settings.spanner_emulator_host is not None
        )
        yield Connections(
            settings=settings,
            telemetry=telemetry,
            database=database,
            ledger=ledger,
            republish_ledger=SpannerRepublishLedger(ledger.transactions, timeout_seconds=REPUBLISH_SECONDS),
            records=Records(database, timeout_seconds=timeout),
            # Strong reads: an operator compares the answer with what was done a moment ago.
            accounting=SpannerAccounting(database, staleness=timedelta(0)),
            worker_states=SpannerWorkerStates(database, timeout_seconds=timeout),
            forward_topic=forward_topic,
            dead_letter_topic=publisher(settings.dead_letter_topic),
            dead_letters=PubSubSubscription(
                subscriber_client, subscription=subscription_path(settings, settings.dead_letter_subscription)
            ),
            publisher_client=publisher_client,
            subscriber_client=subscriber_client,
        )
