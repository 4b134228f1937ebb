"""The worker's ports, and their observers."""

from dataclasses import dataclass

from shared.events.forward_ledger import ForwardLedger
from shared.events.republish_ledger import RepublishLedger
from shared.events.rule_table import RuleTable
from shared.pubsub import Publisher
from shared.telemetry.providers import Telemetry
from shared.telemetry.publishing import ObservedPublisher
from worker.statsig.forwarder import StatsigForwarder
from worker.telemetry.dead_letters import CountedDeadLetters
from worker.telemetry.ledger import ObservedForwardLedger, ObservedRepublishLedger
from worker.telemetry.requests import ObservedStatsigForwarder


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """The worker's ports to Spanner, Statsig and Pub/Sub, except for its subscriptions."""

    ledger: ForwardLedger
    republish_ledger: RepublishLedger
    rules: RuleTable
    forwarder: StatsigForwarder
    forward_topic: Publisher
    dead_letter_topic: Publisher


def observed(ports: Ports, telemetry: Telemetry, *, api_url: str) -> Ports:
    """The same ports, each wrapped by its observer."""
    return Ports(
        ledger=ObservedForwardLedger(ports.ledger, telemetry),
        republish_ledger=ObservedRepublishLedger(ports.republish_ledger, telemetry),
        rules=ports.rules,
        forwarder=ObservedStatsigForwarder(ports.forwarder, telemetry, api_url=api_url),
        forward_topic=ObservedPublisher(ports.forward_topic, telemetry, topic="forward", role="reconciler"),
        dead_letter_topic=CountedDeadLetters(
            ObservedPublisher(ports.dead_letter_topic, telemetry, topic="dead_letter", role="worker"), telemetry
        ),
    )
