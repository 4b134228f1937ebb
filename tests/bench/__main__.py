"""`make bench`: our ingress against the textbook way, and against itself with telemetry, in turns in one run.

The ratios hold, the figures do not.
"""

import json
import os
import statistics
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import anyio
from rich.console import Console
from rich.table import Table

from deploy.local.processes import ManagedProcess, Supervisor, free_port
from deploy.local.provision import StackNames
from deploy.local.stack import REPOSITORY, Stack, StackOptions, running_stack

ROUNDS = 3
LOADS = ((1, 200), (16, 1000), (128, 3000))
"""Connections and calls."""

TRACED_SHARES = (0.05, 1.0)
"""What is usual in production, and the most there can be; metrics are on in both."""


async def main() -> None:
    run_dir = Path(tempfile.mkdtemp(prefix="event-logging-bench-"))
    results: dict[tuple[str, int], list[dict[str, float]]] = defaultdict(list)
    async with (
        running_stack(run_dir, StackOptions(workers=0), names=StackNames.unique("bench")) as stack,
        Supervisor() as supervisor,
    ):
        urls = {
            "textbook": await _start(supervisor, stack, "textbook", ["-m", "tests.bench.textbook"]),
            "this": stack.ingress_url,
        }
        receiver = await _start(supervisor, stack, "receiver", ["-m", "tests.bench.receiver"])
        for share in TRACED_SHARES:
            way = f"this, {share:.0%} traced"
            settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver, "OTEL_TRACES_SAMPLER_ARG": str(share)}
            urls[way] = await _start(supervisor, stack, f"ingress-{share}", ["-m", "ingress"], settings)
        for _ in range(ROUNDS):
            for connections, calls in LOADS:
                for way, url in urls.items():
                    results[way, connections].append(await _load(url, connections, calls))
    table = Table("connections", "way", "calls/s", "p50 ms", "p99 ms", "times as fast")
    for connections, _ in LOADS:
        rates = {way: statistics.median(r["rate"] for r in results[way, connections]) for way in urls}
        for way, rate in rates.items():
            p50, p99 = (statistics.median(r[key] for r in results[way, connections]) for key in ("p50_ms", "p99_ms"))
            ratio = rate / rates["textbook"]
            table.add_row(str(connections), way, f"{rate:.0f}", f"{p50:.1f}", f"{p99:.1f}", f"{ratio:.1f}")
    Console().print(table)


async def _start(
    supervisor: Supervisor, stack: Stack, name: str, arguments: list[str], settings: dict[str, str] | None = None
) -> str:
    """Start a server on a free port, given as an argument and as PORT; its address once it listens."""
    port = free_port()
    env = {**os.environ, **stack.names.variables, **stack.emulators.variables, "PYTHONPATH": str(REPOSITORY)}
    await supervisor.start(
        ManagedProcess(
            name=name,
            argv=[sys.executable, *arguments, str(port)],
            env=env | {"PORT": str(port)} | (settings or {}),
            log_path=stack.run_dir / f"{name}.log",
        )
    )
    with anyio.fail_after(20):
        while True:
            try:
                await (await anyio.connect_tcp("127.0.0.1", port)).aclose()
            except OSError:
                await anyio.sleep(0.1)
            else:
                return f"http://127.0.0.1:{port}"


async def _load(url: str, connections: int, calls: int) -> dict[str, float]:
    done = await anyio.run_process(
        [sys.executable, "-m", "tests.bench.load", url, str(connections), str(calls)], cwd=REPOSITORY
    )
    result: dict[str, float] = json.loads(done.stdout)
    return result


if __name__ == "__main__":
    anyio.run(main)
