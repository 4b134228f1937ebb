"""Runs the stand-in as a process: one line of JSON when it listens, exit 0 on SIGTERM or SIGINT."""

import argparse
import asyncio
import json
import signal
from pathlib import Path

from deploy.local.statsig_stand_in.stand_in import running_stand_in


async def serve(log_path: Path, host: str, port: int) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with running_stand_in(log_path, host=host, port=port) as stand_in:
        print(json.dumps({"url": stand_in.url, "api_url": stand_in.api_url, "log": str(log_path)}), flush=True)
        await stopping.wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m deploy.local.statsig_stand_in", description=__doc__)
    parser.add_argument(
        "--log",
        type=Path,
        required=True,
        help="file to append accepted events to, one JSON a line; NAME.requests.jsonl beside it logs each request",
    )
    parser.add_argument("--port", type=int, default=0, help="0 (the default) takes any free port")
    parser.add_argument("--host", default="127.0.0.1")
    chosen = parser.parse_args()
    try:
        asyncio.run(serve(chosen.log, chosen.host, chosen.port))
    except OSError as error:
        raise SystemExit(f"cannot start: {error}") from error


if __name__ == "__main__":
    main()
