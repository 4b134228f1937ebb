"""One event's path through the stack, read from the stage lines that ingress and worker log at DEBUG."""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import anyio

from deploy.local.errors import LocalStackError
from deploy.local.stack import Stack

STAGES: Final = {
    "event_committed": "committed to Spanner, with its ledger row PENDING",
    "event_published": "published to Pub/Sub",
    "event_claimed": "claimed by the worker",
    "event_sent": "sent, and confirmed by Statsig",
    "event_settled": "settled: its ledger row is DELIVERED",
}
"""In the order in which an event passes them."""

ARRIVAL_SECONDS: Final = 30.0
"""For one event to be settled."""
POLL_SECONDS: Final = 0.02


@dataclass(frozen=True, slots=True)
class Passed:
    stage: str
    at: datetime


async def journey_of(event_id: str, stack: Stack) -> list[Passed]:
    """Wait until the event is settled; returns its stages in order.

    Raises:
        LocalStackError: it was not settled in time; the message names the first missing stage.
    """
    passed: dict[str, datetime] = {}
    with anyio.move_on_after(ARRIVAL_SECONDS):
        while True:
            passed = _stages_in(stack.run_dir, event_id)
            if len(passed) == len(STAGES):
                return [Passed(stage, passed[stage]) for stage in STAGES]
            await anyio.sleep(POLL_SECONDS)
    missing = next(stage for stage in STAGES if stage not in passed)
    raise LocalStackError(
        f"event {event_id} did not reach '{missing}' in {ARRIVAL_SECONDS:g} s; the logs are in {stack.run_dir}"
    )


def _stages_in(run_dir: Path, event_id: str) -> dict[str, datetime]:
    found: dict[str, datetime] = {}
    for log in (run_dir / "ingress.log", *run_dir.glob("worker-*.log")):
        for line in log.read_text().splitlines():
            if event_id in line:
                entry: dict[str, Any] = json.loads(line)
                if entry["message"] in STAGES:
                    found[entry["message"]] = datetime.fromisoformat(entry["time"])
    return found
