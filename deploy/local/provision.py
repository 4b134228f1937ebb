"""Creates on the emulators what ingress and worker never create: instance, database, topics, subscriptions."""

import inspect
import uuid
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Self

import grpc
from google.api_core.exceptions import AlreadyExists, NotFound
from google.cloud.spanner_admin_database_v1 import CreateDatabaseRequest, DatabaseAdminAsyncClient
from google.cloud.spanner_admin_database_v1.services.database_admin.transports import DatabaseAdminGrpcAsyncIOTransport
from google.cloud.spanner_admin_instance_v1 import Instance, InstanceAdminAsyncClient
from google.cloud.spanner_admin_instance_v1.services.instance_admin.transports import InstanceAdminGrpcAsyncIOTransport
from google.pubsub_v1 import (
    DeadLetterPolicy,
    ExpirationPolicy,
    PublisherAsyncClient,
    RetryPolicy,
    SubscriberAsyncClient,
    Subscription,
    Topic,
)
from google.pubsub_v1.services.publisher.transports import PublisherGrpcAsyncIOTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcAsyncIOTransport

from deploy import schema
from deploy.local.emulators import Emulators, local_channel

MAX_DELIVERY_ATTEMPTS: Final = 100
"""The most that Pub/Sub offers: native dead-lettering is the backstop, the worker dead-letters long before."""

FORWARD_ACK_DEADLINE_SECONDS: Final = 10
"""The shortest there is: the worker extends its leases, and the messages of a worker that died are redelivered soon."""

RETRY_BACKOFF_MIN: Final = timedelta(seconds=10)
"""The pause before the first redelivery of a nacked message."""

RETRY_BACKOFF_MAX: Final = timedelta(seconds=600)
"""Pub/Sub's own ceiling."""

DEAD_LETTER_ACK_DEADLINE_SECONDS: Final = 60
"""For the worker to write what it pulled to Spanner: it does not extend the leases of dead letters."""

DEAD_LETTER_RETENTION: Final = timedelta(days=7)
"""The longest that Pub/Sub offers a subscription without topic retention."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StackNames:
    """Short names, as in the settings: without projects/PROJECT/... before them."""

    project: str
    spanner_instance: str
    spanner_database: str
    forward_topic: str
    forward_subscription: str
    dead_letter_topic: str
    dead_letter_subscription: str

    @classmethod
    def default(cls) -> Self:
        return cls._of("event-logging-local", "event-log", "event-log", suffix="")

    @classmethod
    def unique(cls, prefix: str) -> Self:
        """Names for one run or test. The prefix is a lower-case letter, then lower-case letters, digits and hyphens."""
        suffix = f"-{uuid.uuid4().hex[:12]}"
        # A database's name has 30 characters at most, an instance's 64; both start with a letter.
        short = prefix[:17] + suffix
        return cls._of("event-logging-local", short, short, suffix=f"-{prefix}{suffix}")

    @classmethod
    def _of(cls, project: str, instance: str, database: str, *, suffix: str) -> Self:
        return cls(
            project=project,
            spanner_instance=instance,
            spanner_database=database,
            forward_topic=f"forward{suffix}",
            forward_subscription=f"forward-worker{suffix}",
            dead_letter_topic=f"dead-letter{suffix}",
            dead_letter_subscription=f"dead-letter-hold{suffix}",
        )

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables of our processes."""
        return {
            "GOOGLE_CLOUD_PROJECT": self.project,
            "SPANNER_INSTANCE": self.spanner_instance,
            "SPANNER_DATABASE": self.spanner_database,
            "FORWARD_TOPIC": self.forward_topic,
            "FORWARD_SUBSCRIPTION": self.forward_subscription,
            "DEAD_LETTER_TOPIC": self.dead_letter_topic,
            "DEAD_LETTER_SUBSCRIPTION": self.dead_letter_subscription,
        }

    @property
    def instance_path(self) -> str:
        return f"projects/{self.project}/instances/{self.spanner_instance}"

    @property
    def database_path(self) -> str:
        return f"{self.instance_path}/databases/{self.spanner_database}"

    def topic_path(self, topic: str) -> str:
        return f"projects/{self.project}/topics/{topic}"

    def subscription_path(self, subscription: str) -> str:
        return f"projects/{self.project}/subscriptions/{subscription}"


class Provisioner:
    """The admin APIs of both emulators. Idempotent: creating what exists or deleting what does not is no error."""

    def __init__(self, spanner: grpc.aio.Channel, pubsub: grpc.aio.Channel) -> None:
        self._instances = InstanceAdminAsyncClient(transport=InstanceAdminGrpcAsyncIOTransport(channel=spanner))
        self._databases = DatabaseAdminAsyncClient(transport=DatabaseAdminGrpcAsyncIOTransport(channel=spanner))
        self._publisher = PublisherAsyncClient(transport=PublisherGrpcAsyncIOTransport(channel=pubsub))
        self._subscriber = SubscriberAsyncClient(transport=SubscriberGrpcAsyncIOTransport(channel=pubsub))

    async def provision(self, names: StackNames, *, max_delivery_attempts: int = MAX_DELIVERY_ATTEMPTS) -> None:
        """Create everything that ingress and worker need; in production Terraform does."""
        await self.create_database(names)
        await self.create_topics(names, max_delivery_attempts=max_delivery_attempts)

    async def create_database(self, names: StackNames, ddl: Sequence[str] | None = None) -> None:
        """Create the instance and the database, with `ddl` or else the DDL of deploy/spanner.

        A database that exists keeps its schema: drop it to get a newer one.
        """
        project = f"projects/{names.project}"
        instance = Instance(
            config=f"{project}/instanceConfigs/emulator-config", display_name=names.spanner_instance, node_count=1
        )
        await _unless_there(
            self._instances.create_instance(parent=project, instance_id=names.spanner_instance, instance=instance)
        )
        request = CreateDatabaseRequest(
            parent=names.instance_path,
            create_statement=f"CREATE DATABASE `{names.spanner_database}`",
            extra_statements=schema.statements() if ddl is None else ddl,
        )
        await _unless_there(self._databases.create_database(request))

    async def drop_database(self, names: StackNames) -> None:
        """Drop the database: an emulator's instance holds 100 at most."""
        await _if_there(self._databases.drop_database(database=names.database_path))

    async def delete_instance(self, names: StackNames) -> None:
        """Delete the instance with all its databases."""
        await _if_there(self._instances.delete_instance(name=names.instance_path))

    async def create_topics(self, names: StackNames, *, max_delivery_attempts: int = MAX_DELIVERY_ATTEMPTS) -> None:
        """Create both topics and their subscriptions. `max_delivery_attempts` is 5 to 100."""
        dead_letter_topic = names.topic_path(names.dead_letter_topic)
        forward_topic = names.topic_path(names.forward_topic)
        for topic in (dead_letter_topic, forward_topic):
            await _unless_there(self._publisher.create_topic(Topic(name=topic)))
        # The dead-letter subscription first: a message to a topic without a subscription is lost.
        await self._subscribe(
            name=names.subscription_path(names.dead_letter_subscription),
            topic=dead_letter_topic,
            ack_deadline_seconds=DEAD_LETTER_ACK_DEADLINE_SECONDS,
            message_retention_duration=DEAD_LETTER_RETENTION,
        )
        await self._subscribe(
            name=names.subscription_path(names.forward_subscription),
            topic=forward_topic,
            ack_deadline_seconds=FORWARD_ACK_DEADLINE_SECONDS,
            retry_policy=RetryPolicy(minimum_backoff=RETRY_BACKOFF_MIN, maximum_backoff=RETRY_BACKOFF_MAX),
            dead_letter_policy=DeadLetterPolicy(
                dead_letter_topic=dead_letter_topic, max_delivery_attempts=max_delivery_attempts
            ),
        )

    async def delete_topics(self, names: StackNames) -> None:
        """Delete both, subscriptions first: deleting a topic leaves them behind, with a topic named _deleted-topic_."""
        for subscription in (names.forward_subscription, names.dead_letter_subscription):
            await _if_there(self._subscriber.delete_subscription(subscription=names.subscription_path(subscription)))
        for topic in (names.forward_topic, names.dead_letter_topic):
            await _if_there(self._publisher.delete_topic(topic=names.topic_path(topic)))

    async def _subscribe(self, **fields: Any) -> None:
        # An expiration policy without a ttl means never; without a policy a subscription expires after 31 idle days.
        subscription = Subscription(expiration_policy=ExpirationPolicy(), **fields)
        await _unless_there(self._subscriber.create_subscription(subscription))


@asynccontextmanager
async def provisioner(emulators: Emulators) -> AsyncIterator[Provisioner]:
    """A provisioner with channels of its own to exactly these emulators; it ignores the process's environment."""
    async with local_channel(emulators.spanner_host) as spanner, local_channel(emulators.pubsub_host) as pubsub:
        yield Provisioner(spanner, pubsub)


async def _unless_there(creation: Awaitable[Any]) -> None:
    try:
        created = await creation
        # Spanner answers with a long-running operation, which may be what fails with AlreadyExists.
        result = created.result() if hasattr(created, "operation") else created
        if inspect.isawaitable(result):
            await result
    except AlreadyExists:
        return


async def _if_there(deletion: Awaitable[None]) -> None:
    try:
        await deletion
    except NotFound:
        return
