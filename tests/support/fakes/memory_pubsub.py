"""Pub/Sub in memory: topics, and subscriptions with leases, redelivery, backoff and native dead-lettering."""

import itertools
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import anyio

from shared.errors import PublishFailedError, SubscriptionUnavailableError
from shared.events.forward_message import (
    MAX_ATTRIBUTE_KEY_BYTES,
    MAX_ATTRIBUTE_VALUE_BYTES,
    MAX_ATTRIBUTES,
    OutgoingMessage,
)
from tests.support.fakes.manual_clock import ManualClock
from tests.support.fakes.scripted_failures import ScriptedFailures
from worker.subscription import PULL_TIMEOUT_SECONDS, ReceivedMessage

_MAX_MESSAGE_BYTES = 10_000_000
_MAX_ACK_DEADLINE_SECONDS = 600
_FOREIGN_DEAD_LETTER = "CloudPubSubDeadLetterSource"


class MemoryTopic:
    """Publisher on a topic in memory."""

    def __init__(self, clock: ManualClock, *, failures: ScriptedFailures | None = None) -> None:
        self.clock = clock
        self.failures = failures or ScriptedFailures()
        self.published: list[OutgoingMessage] = []
        self._subscriptions: list[MemorySubscription] = []
        self._deleted = False
        self._numbers = itertools.count(1)

    async def publish(self, messages: Sequence[OutgoingMessage]) -> None:
        if not messages:
            return  # no request
        async with self.failures.around("publish"):
            if self._deleted:
                raise PublishFailedError("no such topic")
            for message in messages:
                _refuse_what_production_would(message)
            for message in messages:
                self.accept(message)

    def accept(self, message: OutgoingMessage) -> None:
        """Adds a message without `publish` and its failures, as Pub/Sub's own dead-lettering does."""
        self.published.append(message)
        number = str(next(self._numbers))
        for subscription in self._subscriptions:
            subscription.enqueue(number, message)

    def delete(self) -> None:
        self._deleted = True

    def attach(self, subscription: "MemorySubscription") -> None:
        """The subscription gets what is published from now on, as with Pub/Sub."""
        self._subscriptions.append(subscription)


@dataclass
class _Backlogged:
    """A message of a subscription that is not acknowledged."""

    message_id: str
    message: OutgoingMessage
    publish_time: datetime
    deliveries: int = 0
    available_at: float = 0.0
    ack_id: str | None = None
    """The ack id of the running lease."""

    leased_until: float = 0.0


@dataclass
class MemorySubscription:
    """worker.subscription.Subscription in memory. Leases and backoff follow the clock, `wait_seconds` real time."""

    topic: MemoryTopic
    ack_deadline_seconds: float = 10.0
    minimum_backoff_seconds: float = 10.0
    maximum_backoff_seconds: float = 600.0
    dead_letter_topic: MemoryTopic | None = None
    max_delivery_attempts: int = 5
    failures: ScriptedFailures = field(default_factory=ScriptedFailures)
    acknowledged: list[str] = field(default_factory=list)
    """Ids of the messages that were acknowledged while leased."""

    _backlog: dict[str, _Backlogged] = field(default_factory=dict)
    _ack_ids: dict[str, str] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _deleted: bool = False
    _changed: anyio.Event = field(default_factory=anyio.Event)

    def __post_init__(self) -> None:
        self.topic.attach(self)
        self.topic.clock.on_advance(self._notify)

    def enqueue(self, message_id: str, message: OutgoingMessage) -> None:
        publish_time = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=self.topic.clock.now_nanos() // 1000)
        self._backlog[message_id] = _Backlogged(message_id, message, publish_time)
        self._notify()

    def delete(self) -> None:
        self._deleted = True

    @property
    def backlog(self) -> dict[str, int]:
        """Delivery attempts so far of each message that is neither acknowledged nor dead-lettered, by its id."""
        self._end_leases()
        return {message_id: each.deliveries for message_id, each in self._backlog.items()}

    @property
    def leased(self) -> set[str]:
        """Ids of the messages with a running lease."""
        self._end_leases()
        return {message_id for message_id, each in self._backlog.items() if each.ack_id is not None}

    async def pull(self, *, max_messages: int, wait_seconds: float = PULL_TIMEOUT_SECONDS) -> list[ReceivedMessage]:
        async with self._call("pull"):
            with anyio.move_on_after(wait_seconds):
                while not (due := self._due()):
                    await self._changed.wait()
            return [self._deliver(each) for each in due[:max_messages]]

    async def acknowledge(self, ack_ids: Sequence[str]) -> None:
        if not ack_ids:
            return  # no request
        async with self._call("acknowledge"):
            for each in self._running(ack_ids):
                self.acknowledged.append(each.message_id)
                del self._backlog[each.message_id]

    async def extend(self, ack_ids: Sequence[str], *, seconds: int) -> None:
        if not ack_ids:
            return
        async with self._call("extend" if seconds else "nack"):
            if not 0 <= seconds <= _MAX_ACK_DEADLINE_SECONDS:
                raise SubscriptionUnavailableError("an ack deadline has 0 to 600 seconds")
            now = self._now()
            for each in self._running(ack_ids):
                each.leased_until = now + seconds
            self._end_leases()
            self._notify()

    @asynccontextmanager
    async def _call(self, name: str) -> AsyncIterator[None]:
        async with self.failures.around(name):
            if self._deleted:
                raise SubscriptionUnavailableError("no such subscription")
            yield

    def _running(self, ack_ids: Sequence[str]) -> list[_Backlogged]:
        """The messages that are leased under these ack ids; ended leases are ignored, as by Pub/Sub."""
        self._end_leases()
        # By message: `ack_ids` may have an old ack id of a message and that of its redelivery.
        message_ids = dict.fromkeys(self._ack_ids.get(ack_id, "") for ack_id in ack_ids)
        found = (self._backlog.get(message_id) for message_id in message_ids)
        return [each for each in found if each is not None and each.ack_id in ack_ids]

    def _due(self) -> list[_Backlogged]:
        self._end_leases()
        now = self._now()
        return [each for each in self._backlog.values() if each.ack_id is None and each.available_at <= now]

    def _deliver(self, each: _Backlogged) -> ReceivedMessage:
        each.deliveries += 1
        each.ack_id = f"ack-{next(self._numbers)}"
        each.leased_until = self._now() + self.ack_deadline_seconds
        self._ack_ids[each.ack_id] = each.message_id
        return ReceivedMessage(
            ack_id=each.ack_id,
            message_id=each.message_id,
            data=each.message.data,
            attributes=dict(each.message.attributes),
            publish_time=each.publish_time,
            delivery_attempt=0 if self.dead_letter_topic is None else each.deliveries,
        )

    def _end_leases(self) -> None:
        now = self._now()
        for each in list(self._backlog.values()):
            if each.ack_id is None or each.leased_until > now:
                continue
            each.ack_id = None
            if self.dead_letter_topic is not None and each.deliveries >= self.max_delivery_attempts:
                del self._backlog[each.message_id]
                count = {f"{_FOREIGN_DEAD_LETTER}DeliveryCount": str(each.deliveries)}
                self.dead_letter_topic.accept(OutgoingMessage(each.message.data, each.message.attributes | count))
                continue
            backoff = self.minimum_backoff_seconds * 2.0 ** (each.deliveries - 1)
            each.available_at = each.leased_until + min(backoff, self.maximum_backoff_seconds)

    def _now(self) -> float:
        return self.topic.clock.monotonic()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


def _refuse_what_production_would(message: OutgoingMessage) -> None:
    """Raises PublishFailedError for what production refuses; the emulator accepts more."""
    if not message.data and not message.attributes:
        raise PublishFailedError("a message needs data or an attribute")
    if len(message.data) > _MAX_MESSAGE_BYTES or len(message.attributes) > MAX_ATTRIBUTES:
        raise PublishFailedError("too much data or too many attributes")
    for key, value in message.attributes.items():
        if not key or key.startswith("goog") or len(key.encode()) > MAX_ATTRIBUTE_KEY_BYTES:
            raise PublishFailedError("an attribute's key is empty, reserved or too long")
        if len(value.encode()) > MAX_ATTRIBUTE_VALUE_BYTES:
            raise PublishFailedError("an attribute's value is too long")
