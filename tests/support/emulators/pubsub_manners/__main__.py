"""Runs the double as a process: prints a line of JSON when it listens, and its counts on SIGTERM or SIGINT (exit 0)."""

import argparse
import asyncio
import json
import signal

from tests.support.emulators.pubsub_manners.double import pubsub_double
from tests.support.emulators.pubsub_manners.manners import Manners


async def serve(upstream: str, manners: Manners, port: int) -> None:
    told_to_stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told_to_stop.set)
    async with pubsub_double(upstream, manners, port=port) as double:
        print(json.dumps({"address": double.address}), flush=True)
        await told_to_stop.wait()
    print(double.counts.as_json(), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.support.emulators.pubsub_manners", description=__doc__)
    parser.add_argument("--upstream", required=True, help="the emulator, as host:port")
    parser.add_argument("--manners", type=Manners.from_json, default=Manners(), help="settings as JSON; see manners.py")
    parser.add_argument("--port", type=int, default=0, help="0 (the default) takes a free one")
    chosen = parser.parse_args()
    asyncio.run(serve(chosen.upstream, chosen.manners, chosen.port))


if __name__ == "__main__":
    main()
