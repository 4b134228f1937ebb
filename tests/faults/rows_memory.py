"""Fault rows of a cap on memory (F18): as many calls at once as Cloud Run admits, each of the largest size."""

import resource
from collections.abc import Callable
from pathlib import Path
from typing import Final

import anyio

from deploy.local.stack import REPOSITORY
from tests.faults.lab import Lab
from tests.faults.large_calls import DEADLINE_SECONDS, Metadata, large_call, long_text, send
from tests.faults.row import Expectations, Fault, Row
from tests.support.parsers.hcl import read_module

REFUSED: Final = frozenset({"resource_exhausted", "unavailable"})
"""Codes of shed calls: no room to wait, or too long a wait, since the emulator's commits of megabytes are slow."""


def as_deployed() -> tuple[int, float]:
    """How many calls at once a deployed ingress gets, and how many MiB of memory."""
    service = read_module(REPOSITORY / "deploy" / "terraform").resources["google_cloud_run_v2_service.ingress"]
    (template,) = service["template"]
    memory: str = template["containers"][0]["resources"][0]["limits"]["memory"]
    assert memory.endswith("Gi"), memory
    return int(template["max_instance_request_concurrency"]), 1024 * float(memory.removesuffix("Gi"))


def large_calls_at_once(metadata: Callable[[], Metadata]) -> Fault:
    async def fault(lab: Lab) -> None:
        calls, allowed = as_deployed()
        process = lab.stack.processes["ingress"]
        cap(process.pid, allowed)
        url = lab.stack.ingress_url

        async def one(number: int) -> None:
            prefix = f"large-{lab.client.seed}-{number}"
            lab.client.attempts.extend(await send(url, large_call(prefix, metadata())))

        async with anyio.create_task_group() as group:
            for number in range(calls):
                group.start_soon(one, number)
        await lab.until_sent(1.0)
        refused = [attempt for attempt in lab.client.attempts if attempt.code in REFUSED]
        unanswered = sum(not attempt.answered for attempt in refused)
        lab.require(unanswered == 0, f"{unanswered} events of calls whose connection broke")
        lab.require(any(attempt.code == "resource_exhausted" for attempt in refused), "nothing was shed: no overload")
        lab.require(process.returncode is None, f"the ingress ended with {process.returncode}")
        if process.returncode is None:
            peak = status_mib(process.pid, "VmHWM")
            lab.require(peak < allowed, f"the ingress held {peak:.0f} MiB, {allowed:.0f} are given to it")

    return fault


def cap(pid: int, mebibytes: float) -> None:
    """Limits the address space to the present one and the memory still allowed: tighter than a limit on residence."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_AS)
    room = mebibytes - status_mib(pid, "VmRSS")
    resource.prlimit(pid, resource.RLIMIT_AS, (int((status_mib(pid, "VmSize") + room) * 1024 * 1024), hard))


def status_mib(pid: int, what: str) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith(f"{what}:"))


MEMORY_ROWS: Final = tuple(
    Row(
        id=f"F18{letter}",
        title=f"64 calls of 4 MiB at once, of {what}, the ingress's memory capped",
        fault=large_calls_at_once(metadata),
        # As deployed: a commit has megabytes here.
        settings={"COMMIT_TIMEOUT_SECONDS": "5", "PUBLISH_TIMEOUT_SECONDS": "1"},
        deadline_seconds=lambda _: DEADLINE_SECONDS,
        expect=Expectations(failures=REFUSED, memory_growth_mib=2048, drain_seconds=100),
    )
    for letter, what, metadata in (("a", "long texts", long_text),)
)
