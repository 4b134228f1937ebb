"""What `doctor` finds, and the judgement of subscriptions; pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

MIN_ACK_DEADLINE_SECONDS: Final = 10
MIN_DELIVERY_ATTEMPTS: Final = 20
"""Fewer, and Pub/Sub dead-letters natively what a short outage hands back."""

MIN_RETENTION: Final = timedelta(days=7)
MAX_CLOCK_SKEW: Final = timedelta(seconds=2)


class FindingLevel(StrEnum):
    OK = "ok"
    WRONG = "wrong"
    UNSEEN = "unseen"
    """Cannot be seen from here."""


@dataclass(frozen=True, slots=True)
class Finding:
    subject: str
    verdict: FindingLevel
    detail: str
    to_do: str = ""


def judged(subject: str, problems: Iterator[tuple[str, str]], fine: str) -> list[Finding]:
    """One finding a problem, or one that all is well."""
    found = [Finding(subject, FindingLevel.WRONG, detail, to_do) for detail, to_do in problems]
    return found or [Finding(subject, FindingLevel.OK, fine)]


def forward_problems(subscription: Any, *, topic: str, dead_letter_topic: str) -> Iterator[tuple[str, str]]:
    """What is wrong with the forward subscription, a Pub/Sub `Subscription`."""
    yield from _common_problems(subscription, topic)
    if subscription.ack_deadline_seconds < MIN_ACK_DEADLINE_SECONDS:
        yield f"ack deadline {subscription.ack_deadline_seconds} s", "set at least 10 s: leases are extended every 3 s"
    if not subscription.retry_policy.minimum_backoff:
        yield "no retry policy", "set 10 s to 600 s: without it what is handed back comes again at once"
    policy = subscription.dead_letter_policy
    if not policy.dead_letter_topic:
        yield "no dead-letter policy", "set it to DEAD_LETTER_TOPIC: it is the backstop for what crashes the worker"
    elif policy.dead_letter_topic != dead_letter_topic:
        yield f"dead-letters to {policy.dead_letter_topic}", "set it to DEAD_LETTER_TOPIC, or nobody will look there"
    elif policy.max_delivery_attempts < MIN_DELIVERY_ATTEMPTS:
        attempts = policy.max_delivery_attempts
        yield f"dead-letters after {attempts} deliveries", f"allow {MIN_DELIVERY_ATTEMPTS} to 100: outages burn some"


def dead_letter_problems(subscription: Any, *, topic: str) -> Iterator[tuple[str, str]]:
    """What is wrong with the dead-letter subscription."""
    yield from _common_problems(subscription, topic)
    if subscription.message_retention_duration < MIN_RETENTION:
        yield (
            f"keeps for {subscription.message_retention_duration}",
            "set 7 days or more: then replay needs --from-rows",
        )
    if subscription.dead_letter_policy.dead_letter_topic:
        yield "dead-letters in turn", "remove its dead-letter policy: every look at it counts as a delivery"
    if subscription.retry_policy.minimum_backoff:
        yield "has a retry policy", "remove it: what a command gives back would be hidden for a while"


def _common_problems(subscription: Any, topic: str) -> Iterator[tuple[str, str]]:
    if subscription.topic != topic:
        yield f"is of {subscription.topic}", f"it must be of {topic}: see the settings"
    if subscription.push_config.push_endpoint:
        yield "pushes", "make it a pull subscription"
    if subscription.filter:
        yield f"filters {subscription.filter}", "remove the filter: what it leaves out is lost to it"
    if subscription.expiration_policy.ttl:
        yield f"expires after {subscription.expiration_policy.ttl} without use", "set it to never expire"
    if subscription.detached:
        yield "is detached", "create it anew: what is published meanwhile never comes"
