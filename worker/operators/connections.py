"""Opens what commands work with: Spanner, Pub/Sub and the ports on them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from google.pubsub_v1 import PublisherAsyncClient, SubscriberAsyncClient

from shared.events.accounting import Accounting
from shared.events.audit_trail import AuditTrail
from shared.events.complaints import ComplaintTable
from shared.events.dead_letter_table import DeadLetterTable
from shared.events.erasure import Erasure
from shared.events.forward_ledger import ForwardLedger
from shared.events.late_forward_ledger import LateForwardLedger
from shared.events.replay_ledger import ReplayLedger
from shared.events.republish_ledger import RepublishLedger
from shared.events.rule_table import RuleTable
from shared.process.process_states import ProcessStates
from shared.process.settings import OperatorSettings
from shared.pubsub import (
    Publisher,
    PubSubPublisher,
    open_publisher_client,
    open_subscriber_client,
    topic_path,
)
from shared.spanner.accounting import SpannerAccounting
from shared.spanner.audit_trail import SpannerAuditTrail
from shared.spanner.complaints import SpannerComplaintTable
from shared.spanner.connection import open_database
from shared.spanner.dead_letters import SpannerDeadLetterTable
from shared.spanner.erasure import SpannerErasure
from shared.spanner.forward_ledger import SpannerForwardLedger
from shared.spanner.late_forward_ledger import SpannerLateForwardLedger
from shared.spanner.process_states import SpannerProcessStates
from shared.spanner.replay_ledger import SpannerReplayLedger
from shared.spanner.republish_ledger import SpannerRepublishLedger
from shared.spanner.rules import SpannerRuleTable
from shared.telemetry.providers import Telemetry
from shared.telemetry.publishing import ObservedPublisher
from worker.operators.events.records import Records

PUBLISH_SECONDS: Final = 10.0

REPUBLISH_SECONDS: Final = 20.0
"""For one call of `reconcile` to the ledger, as in worker/wiring.py: a page of large events takes a while to read."""


ERASE_SECONDS: Final = 20.0
"""For one page of an erasure: its rows and dead letters are deleted in one commit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connections:
    """What commands work with. Opening it makes no call: a dependency that is down fails the first call to it."""

    settings: OperatorSettings
    telemetry: Telemetry | None
    database: Any
    ledger: ForwardLedger
    republish_ledger: RepublishLedger
    replay_ledger: ReplayLedger
    late_forward_ledger: LateForwardLedger
    dead_letters: DeadLetterTable
    records: Records
    accounting: Accounting
    process_states: ProcessStates
    rules: RuleTable
    audit_trail: AuditTrail
    complaints: ComplaintTable
    erasure: Erasure
    forward_topic: Publisher
    dead_letter_topic: Publisher
    publisher_client: PublisherAsyncClient
    subscriber_client: SubscriberAsyncClient


@asynccontextmanager
async def open_connections(
    settings: OperatorSettings, telemetry: Telemetry | None = None
) -> AsyncIterator[Connections]:
    """Connections to what the settings name, closed at the end.

    Long because it lists every port.
    """
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
            database,
            timeout_seconds=timeout,
            one_at_a_time=settings.spanner_emulator_host is not None,
            shards=settings.forward_shards,
        )
        yield Connections(
            settings=settings,
            telemetry=telemetry,
            database=database,
            ledger=ledger,
            republish_ledger=SpannerRepublishLedger(ledger.transactions, timeout_seconds=REPUBLISH_SECONDS),
            replay_ledger=SpannerReplayLedger(ledger.transactions, timeout_seconds=timeout),
            late_forward_ledger=SpannerLateForwardLedger(
                ledger.transactions, timeout_seconds=timeout, shards=settings.forward_shards
            ),
            dead_letters=SpannerDeadLetterTable(ledger.transactions, timeout_seconds=timeout),
            records=Records(database, timeout_seconds=timeout, shards=settings.forward_shards),
            # Reads of the present: an operator compares the account with what was done a moment ago.
            accounting=SpannerAccounting(database, shards=settings.forward_shards),
            process_states=SpannerProcessStates(database, timeout_seconds=timeout),
            rules=SpannerRuleTable(ledger.transactions, timeout_seconds=timeout),
            audit_trail=SpannerAuditTrail(ledger.transactions, timeout_seconds=timeout),
            complaints=SpannerComplaintTable(database, timeout_seconds=timeout),
            erasure=SpannerErasure(ledger.transactions, timeout_seconds=ERASE_SECONDS),
            forward_topic=forward_topic,
            dead_letter_topic=publisher(settings.dead_letter_topic),
            publisher_client=publisher_client,
            subscriber_client=subscriber_client,
        )
