"""Watches a running stack: passes on its logs, and reports each process that ends."""

import sys
from pathlib import Path
from typing import Final

import anyio

from deploy.local.processes import ManagedProcess
from deploy.local.stack import Stack

POLL_SECONDS: Final = 0.1


async def report_deaths(stack: Stack) -> None:
    """Report on stderr each process that ends; the others go on. Returns once all have ended."""

    async def report(name: str, process: ManagedProcess) -> None:
        code = await process.wait()
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        print(f"deploy.local: {name} (pid {process.pid}) ended with {how}", file=sys.stderr, flush=True)

    async with anyio.create_task_group() as tasks:
        for name, process in stack.processes.items():
            tasks.start_soon(report, name, process)


async def pass_on_logs(stack: Stack) -> None:
    """Copy the logs of ingress and workers to stderr, each line prefixed with its process; until cancelled."""
    names = [name for name in stack.processes if name == "ingress" or name.startswith("worker-")]
    async with anyio.create_task_group() as tasks:
        for name in names:
            tasks.start_soon(_follow, name, stack.run_dir / f"{name}.log")


async def _follow(name: str, log: Path) -> None:
    rest = b""
    async with await anyio.open_file(log, "rb") as file:
        while True:
            chunk = await file.read(65_536)
            if not chunk:
                await anyio.sleep(POLL_SECONDS)  # appending to a file sets no event that could be awaited
                continue
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                print(f"{name}: {line.decode(errors='replace')}", file=sys.stderr, flush=True)
