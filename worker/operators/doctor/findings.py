"""A finding of `doctor`, and what can be wrong with the subscriptions; pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

MIN_ACK_DEADLINE_SECONDS: Final = 10

MIN_DELIVERY_ATTEMPTS: Final = 20
"""With fewer, Pub/Sub itself dead-letters messages that workers nack in a short outage."""

MIN_RETENTION: Final = timedelta(days=7)

MAX_CLOCK_SKEW: Final = timedelta(seconds=2)


class FindingLevel(StrEnum):
    OK = "ok"
    WRONG = "wrong"
    UNSEEN = "unseen"
    """Could not be checked: no answer, no access, or nothing to check yet."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `doctor`."""

    subject: str
    level: FindingLevel
    detail: str
    to_do: str = ""
    """Empty where there is nothing to do."""

    def as_dict(self) -> dict[str, str]:
        """The finding as a document; the level is its `verdict`."""
        return {"subject": self.subject, "verdict": self.level, "detail": self.detail, "to_do": self.to_do}


def findings_from(subject: str, problems: Iterator[tuple[str, str]], if_none: str) -> list[Finding]:
    """A finding for each problem and its remedy, or one that is OK and says `if_none`."""
    found = [Finding(subject, FindingLevel.WRONG, detail, to_do) for detail, to_do in problems]
    return found or [Finding(subject, FindingLevel.OK, if_none)]


def forward_problems(subscription: Any, *, topic: str, dead_letter_topic: str) -> Iterator[tuple[str, str]]:
    """What is wrong with the forward subscription, a Pub/Sub `Subscription`, and how to fix it."""
    yield from _common_problems(subscription, topic)
    if subscription.ack_deadline_seconds < MIN_ACK_DEADLINE_SECONDS:
        yield f"ack deadline {subscription.ack_deadline_seconds} s", "set at least 10 s: leases are extended every 3 s"
    if not subscription.retry_policy.minimum_backoff:
        yield "no retry policy", "set 10 s to 600 s: without it a nacked message is redelivered at once"
    policy = subscription.dead_letter_policy
    if not policy.dead_letter_topic:
        yield "no dead-letter policy", "set it to DEAD_LETTER_TOPIC: it catches messages that crash the worker"
    elif policy.dead_letter_topic != dead_letter_topic:
        yield f"dead-letters to {policy.dead_letter_topic}", "set it to DEAD_LETTER_TOPIC: no worker collects from here"
    elif policy.max_delivery_attempts < MIN_DELIVERY_ATTEMPTS:
        attempts = policy.max_delivery_attempts
        yield (
            f"dead-letters after {attempts} deliveries",
            f"allow {MIN_DELIVERY_ATTEMPTS} to 100: an outage uses up some",
        )


def dead_letter_problems(subscription: Any, *, topic: str) -> Iterator[tuple[str, str]]:
    """What is wrong with the dead-letter subscription, and how to fix it."""
    yield from _common_problems(subscription, topic)
    if subscription.message_retention_duration < MIN_RETENTION:
        yield (
            f"keeps messages for {subscription.message_retention_duration}",
            "set 7 days or more: a dead letter that expires uncollected needs a replay with --from-rows",
        )
    if subscription.dead_letter_policy.dead_letter_topic:
        yield "has a dead-letter policy", "remove it: a dead letter that is nacked too often would leave it"
    if subscription.retry_policy.minimum_backoff:
        yield "has a retry policy", "remove it: a dead letter that is nacked would be collected late"


def _common_problems(subscription: Any, topic: str) -> Iterator[tuple[str, str]]:
    if subscription.topic != topic:
        yield f"belongs to {subscription.topic}", f"it must belong to {topic}: check the settings"
    if subscription.push_config.push_endpoint:
        yield "is a push subscription", "make it a pull subscription"
    if subscription.filter:
        yield f"has the filter {subscription.filter}", "remove it: messages that do not match are never delivered"
    if subscription.expiration_policy.ttl:
        yield f"expires after {subscription.expiration_policy.ttl} without use", "set it to never expire"
    if subscription.detached:
        yield "is detached", "create it again: messages published until then are never delivered"
