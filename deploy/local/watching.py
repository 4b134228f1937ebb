"""What a running stack says: its processes' logs passed on, and each process that dies reported."""

import sys
from pathlib import Path
from typing import Final

import anyio

from deploy.local.processes import ManagedProcess
from deploy.local.stack import Stack

POLL_SECONDS: Final = 0.1


async def report_deaths(stack: Stack) -> None:
    """Say on stderr of each process that ends that it did; until cancelled. The others go on."""

    async def report(name: str, process: ManagedProcess) -> None:
        code = await process.wait()
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        print(f"deploy.local: {name} (pid {process.pid}) ended with {how}", file=sys.stderr, flush=True)

    async with anyio.create_task_group() as tasks:
        for name, process in stack.processes.items():
            tasks.start_soon(report, name, process)


async def pass_on_logs(stack: Stack) -> None:
    """Copy what ingress and workers log to stderr, each line with its process before it; until cancelled."""
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
                await anyio.sleep(POLL_SECONDS)  # files have no end that could be awaited
                continue
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                print(f"{name}: {line.decode(errors='replace')}", file=sys.stderr, flush=True)
