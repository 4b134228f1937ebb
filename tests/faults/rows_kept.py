"""Fault rows of requests that Statsig keeps without confirming them: every copy must be counted (F55, F56)."""

from typing import Final

from deploy.local.statsig_stand_in import read_requests
from shared.gen.events.v1.event_logging_pb import LogEventRequest
from tests.faults.lab import Lab
from tests.faults.row import IN_FLIGHT, Expectations, Row
from tests.faults.rows_statsig import status
from tests.faults.rows_worker import WORKER

KEPT_AND_FAILED: Final = (408, 500, 502, 503, 504, 520, 521, 522, 523, 524)
"""What a proxy may answer after it forwarded the request; 520 to 524 are Cloudflare's."""

TIMES: Final = 2
"""Failures of each code in a row: one more would open the circuit, and each code would take seconds."""

UNANSWERED: Final = 3
"""Requests with the event; the worker is killed during the last one."""

HELD: Final = "held"


async def kept_and_failed(lab: Lab) -> None:
    for code in (*KEPT_AND_FAILED[:3], *lab.unless_quick(*KEPT_AND_FAILED[3:])):
        await lab.statsig(status(code, accept=True), times=TIMES)
        if not await until_answered(lab, str(code), TIMES):
            return
        lab.incidents += TIMES
        await until_accepted_more(lab)


async def until_answered(lab: Lab, outcome: str, times: int) -> bool:
    async def is_answered() -> bool:
        return int((await lab.statsig_stats())["outcomes"].get(outcome, 0)) >= times

    return await lab.until_true(is_answered, f"{times} requests that end as {outcome}")


async def until_accepted_more(lab: Lab) -> None:
    before = int((await lab.statsig_stats())["accepted"])

    async def is_accepted() -> bool:
        return int((await lab.statsig_stats())["accepted"]) > before

    await lab.until_true(is_accepted, "an accepted request between two failures")


async def killed_in_the_third_attempt(lab: Lab) -> None:
    """Two attempts time out, and the worker is killed during the third: Statsig keeps the events of all three."""
    hang = {"kind": "hang", "accept": True}
    rule = {"behaviour": hang, "events": {"name_contains": HELD}, "times": UNANSWERED}
    await lab.statsig_rules(rule)
    key = f"held-{lab.client.seed}"
    request = LogEventRequest(event_name=HELD, actor_id=key, idempotency_key=key)
    event_id = (await lab.client.call(request, key=key)).event_id
    await until_answered(lab, "hang", UNANSWERED)
    await lab.kill(WORKER)
    lab.incidents += UNANSWERED
    assert lab.stack.statsig_log is not None
    carried = [each for each in read_requests(lab.stack.statsig_log) if event_id in each.event_ids]
    lab.require(len(carried) == UNANSWERED, f"the event was in {len(carried)} requests, not in {UNANSWERED}: no fault")
    await lab.restart(WORKER)


KEPT_ROWS: Final = (
    Row(
        id="F55",
        title="requests kept and answered 408, 500, 502, 503, 504, 520 to 524",
        fault=kept_and_failed,
        load_seconds=20.0,
        expect=Expectations(duplicates_per_incident=IN_FLIGHT, drain_seconds=60),
    ),
    Row(
        id="F56",
        title="two requests kept and not answered, worker killed during the third",
        fault=killed_in_the_third_attempt,
        load_seconds=14.0,
        expect=Expectations(duplicates_per_incident=IN_FLIGHT, drain_seconds=60),
    ),
)
