"""A caller misbehaves: found in the console, its event held, the cause mended, the rule ended; everything arrives once.

On real processes and emulators. The console is a process too, spoken to as a browser speaks to it.
"""

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pyqwest
import pytest

from deploy.local.emulators import Emulators
from deploy.local.provision import StackNames
from deploy.local.stack import Stack, StackOptions, running_stack
from deploy.local.statsig_stand_in import read_requests
from shared.gen.events.v1.event_logging_connect import EventLoggingServiceClient
from shared.gen.events.v1.event_logging_pb import LogEventRequest
from tests.support.delivery import log_events, until_delivered
from tests.support.operators.console import Page, RunningConsole, running_console

pytestmark = [pytest.mark.emulators, pytest.mark.processes]

BATCH = "batch@example.com"
NAME = "cart_synced"
IMPATIENT = {
    "CLAIM_SECONDS": "15",
    "RETRY_BUDGET_SECONDS": "3",
    "STATSIG_TIMEOUT_SECONDS": "2",
    "SUSPECT_BACKOFF_SECONDS": "1",
}


@pytest.fixture
async def stack(emulators: Emulators, names: StackNames, tmp_path: Path) -> AsyncIterator[Stack]:
    options = StackOptions(settings=IMPATIENT)
    async with running_stack(tmp_path, options, names=names, emulators=emulators) as running:
        yield running


async def log_as_batch(stack: Stack, count: int) -> set[str]:
    headers = {"x-goog-authenticated-user-email": f"accounts.google.com:{BATCH}"}
    async with EventLoggingServiceClient(stack.ingress_url) as client:
        return {
            (await client.log_event(LogEventRequest(event_name=NAME), headers=headers)).event_id for _ in range(count)
        }


def carried(stack: Stack) -> set[str]:
    """The events that any request to Statsig has carried, whatever became of it."""
    assert stack.statsig_log is not None
    return {event_id for request in read_requests(stack.statsig_log) for event_id in request.event_ids}


async def until_shown(console: RunningConsole, path: str, *words: str) -> Page:
    """The page, once it has all of `words`."""
    with anyio.fail_after(30):
        while True:
            page = await console.get(path)
            if all(word in page.words for word in words):
                return page
            await anyio.sleep(0.2)


async def until_applied(stack: Stack, rule_id: str) -> None:
    """Wait until the worker knows the rule."""
    log = anyio.Path(stack.run_dir / "worker-1.log")
    with anyio.fail_after(20):
        while not any(rule_id in line and "rule_applies" in line for line in (await log.read_text()).splitlines()):
            await anyio.sleep(0.1)


@pytest.mark.timeout(120)
async def test_a_misbehaving_callers_event_is_found_held_mended_and_released_and_arrives_once(
    stack: Stack, environment: dict[str, str]
) -> None:
    control = f"{stack.statsig_url}/control"
    refused = [{"behaviour": {"kind": "status", "status": 500}, "events": {"name_contains": NAME}}]
    await pyqwest.Client().put(control, content=json.dumps(refused).encode())
    first = await log_as_batch(stack, 10)
    good = await log_events(stack.ingress_url, 100, name="order_paid")
    assert stack.statsig_log is not None
    await until_delivered(good, stack.statsig_log)

    async with running_console(environment) as console:
        # Found: only this caller's event waits, and why.
        waits = await until_shown(console, "/pending", BATCH, NAME, "http_500")
        assert "order_paid" not in waits.words
        # Held, after a dry run that counts.
        asked = await console.get(f"/rules/new?action=hold&event_name={NAME}&caller={BATCH}&why=INC-12&lasts=2h")
        assert "Of the last hour 10 events match, 10 of them to be forwarded." in asked.words
        assert (await console.post("/rules/new", asked.hidden)).status == 303
        rules = await until_shown(console, "/rules", NAME, BATCH, "INC-12")
        (rule_id,) = re.findall(r"/rules/([0-9a-f]{8})/remove", rules.text)
        await until_applied(stack, rule_id)
        held = await log_as_batch(stack, 20)
        others = await log_events(stack.ingress_url, 100, name="order_paid")
        await until_delivered(others, stack.statsig_log)
        await until_shown(console, "/pending?waiting=held+by+a+rule", BATCH, NAME)
        assert held & carried(stack) == set(), "sent while it was held"
        # Mended and released.
        await pyqwest.Client().delete(control)
        removal = await console.get(f"/rules/{rule_id}/remove")
        assert (await console.post(f"/rules/{rule_id}/remove", [*removal.hidden, ("why", "mended")])).status == 303
        received = await until_delivered([*first, *held, *good, *others], stack.statsig_log, seconds=60)
        await until_shown(console, "/audit", "rules add", "rules remove", "mended")

    assert received == dict.fromkeys([*first, *held, *good, *others], 1)
