"""The worker as a textbook writes it: a subscriber's callback, one log_event and one flush a message, then ack.

It runs until it is killed, and neither claims nor settles.
"""

import os

from google.cloud import pubsub_v1  # type: ignore[attr-defined] # ships without type information
from google.cloud.pubsub_v1.subscriber.message import Message

from tests.bench.servers.statsig_client import send, start_statsig


def forward(message: Message) -> None:
    attributes = dict(message.attributes)
    send(attributes["event_id"], attributes["event_name"], {"message": message.data.decode()})
    message.ack()


if __name__ == "__main__":
    start_statsig()
    subscriber = pubsub_v1.SubscriberClient()
    subscription = subscriber.subscription_path(os.environ["GOOGLE_CLOUD_PROJECT"], os.environ["FORWARD_SUBSCRIPTION"])
    subscriber.subscribe(subscription, callback=forward).result()
