"""A limit: publishes of forward messages over grpc.aio alone."""

import os

import uvloop
from google.pubsub_v1 import PubsubMessage

from shared.events import forward_message
from shared.pubsub import topic_path
from tests.bench.backlog import new_rows
from tests.bench.limits.arguments import Arguments, arguments
from tests.bench.limits.closed_loop import measured, tell
from tests.bench.product import opened_publisher, settings


async def main(chosen: Arguments) -> None:
    encoded = [forward_message.encode(row.event) for row in new_rows(chosen.events)]
    topic = topic_path(settings(os.environ), os.environ["FORWARD_TOPIC"])
    async with opened_publisher(os.environ) as client:

        async def publish() -> int:
            messages = [PubsubMessage(data=each.data, attributes=each.attributes) for each in encoded]
            await client.publish(topic=topic, messages=messages)
            return len(messages)

        tell(await measured(publish, in_flight=chosen.in_flight, seconds=chosen.seconds))


if __name__ == "__main__":
    uvloop.run(main(arguments(__doc__)))
