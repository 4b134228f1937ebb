"""A limit: pulls and acknowledgements alone, until the subscription is empty."""

import os

import uvloop
from google.api_core.exceptions import DeadlineExceeded

from shared.pubsub import open_subscriber_client, subscription_path
from tests.bench.limits.arguments import Arguments, arguments
from tests.bench.limits.closed_loop import measured, tell
from tests.bench.product import settings

QUIET_SECONDS = 1.0
"""A pull without a message for this long ends it: all messages are there before it begins."""


async def main(chosen: Arguments) -> None:
    subscription = subscription_path(settings(os.environ), os.environ["FORWARD_SUBSCRIPTION"])
    async with open_subscriber_client(settings(os.environ)) as client:

        async def pull() -> int:
            try:
                pulled = await client.pull(
                    subscription=subscription, max_messages=chosen.events, timeout=QUIET_SECONDS, retry=None
                )
            except DeadlineExceeded:
                return 0
            ack_ids = [each.ack_id for each in pulled.received_messages]
            if ack_ids:
                await client.acknowledge(subscription=subscription, ack_ids=ack_ids)
            return len(ack_ids)

        tell(await measured(pull, in_flight=chosen.in_flight, seconds=chosen.seconds))


if __name__ == "__main__":
    uvloop.run(main(arguments(__doc__)))
