"""Real processes on real emulators: an answered event is delivered once, whichever process ends and when."""

import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pyqwest
import pytest
from connectrpc.code import Code
from connectrpc.errors import ConnectError

from deploy.local.emulators import Emulators
from deploy.local.provision import StackNames
from deploy.local.stack import Stack, StackOptions, running_stack
from shared.gen.events.v1.event_logging_connect import EventLoggingServiceClient
from shared.gen.events.v1.event_logging_pb import LogEventRequest
from tests.support.delivery import log_events, until_delivered
from tests.support.emulators.pubsub_manners.manners import Manners
from tests.support.emulators.pubsub_manners.process import with_manners

pytestmark = [pytest.mark.emulators, pytest.mark.processes]

# Short, so that what a killed process left behind is taken up within the test.
IMPATIENT = {
    "CLAIM_SECONDS": "10",
    "STATSIG_TIMEOUT_SECONDS": "1",
    "RETRY_BUDGET_SECONDS": "3",
    "RECONCILE_AFTER_SECONDS": "1",
    "RECONCILE_INTERVAL_SECONDS": "0.5",
    "CIRCUIT_PROBE_SECONDS": "0.5",
}


@pytest.fixture(params=[None, Manners(seed=1)], ids=["emulator", "mannered"])
async def stack(
    request: pytest.FixtureRequest, emulators: Emulators, names: StackNames, tmp_path: Path
) -> AsyncIterator[Stack]:
    async with with_manners(emulators, request.param, tmp_path) as seen:
        options = StackOptions(settings=IMPATIENT | {"PUBSUB_EMULATOR_HOST": seen.pubsub_host})
        async with running_stack(tmp_path, options, names=names, emulators=emulators) as running:
            yield running


def log_of(stack: Stack) -> Path:
    assert stack.statsig_log is not None
    return stack.statsig_log


async def until_logged(stack: Stack, name: str, event: str) -> None:
    log = anyio.Path(stack.run_dir / f"{name}.log")
    with anyio.fail_after(20):
        while f'"message":"{event}"' not in await log.read_text():
            await anyio.sleep(0.05)


async def test_every_answered_event_is_delivered_once_and_bad_ones_are_refused(stack: Stack) -> None:
    async with EventLoggingServiceClient(stack.ingress_url) as client:
        with pytest.raises(ConnectError) as refusal:
            await client.log_event(LogEventRequest(event_name="dropped#by#statsig"))
    event_ids = await log_events(stack.ingress_url, 300)

    received = await until_delivered(event_ids, log_of(stack))

    assert refusal.value.code is Code.INVALID_ARGUMENT
    assert received == dict.fromkeys(event_ids, 1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_ending_the_ingress_in_the_middle_loses_nothing_that_was_answered(
    stack: Stack, number: signal.Signals
) -> None:
    answered: list[str] = []
    unanswered = 0

    async def log_until_it_ends() -> None:
        nonlocal unanswered
        async with EventLoggingServiceClient(stack.ingress_url) as client:
            while stack.processes["ingress"].returncode is None:
                try:
                    answered.append((await client.log_event(LogEventRequest(event_name="interrupted"))).event_id)
                except ConnectError:
                    unanswered += 1

    async with anyio.create_task_group() as callers:
        for _ in range(8):
            callers.start_soon(log_until_it_ends)
        while len(answered) < 200:
            await anyio.sleep(0.01)
        stack.processes["ingress"].send_signal(number)
    code = await stack.processes["ingress"].wait()

    received = await until_delivered(answered, log_of(stack))

    assert code == (0 if number is signal.SIGTERM else -number)
    assert max(received.values()) == 1
    # What was committed but not answered may have been delivered too; nothing else may.
    assert len(received) - len(answered) <= unanswered


async def test_terminating_the_worker_in_the_middle_neither_loses_nor_doubles(stack: Stack) -> None:
    event_ids = await log_events(stack.ingress_url, 400)
    worker = stack.processes["worker-1"]
    with anyio.fail_after(7):
        worker.send_signal(signal.SIGTERM)
        code = await worker.wait()
    await stack.start_again("worker-1")
    event_ids += await log_events(stack.ingress_url, 100)

    received = await until_delivered(event_ids, log_of(stack))

    assert code == 0
    assert received == dict.fromkeys(event_ids, 1)


async def test_statsig_being_down_costs_delay_only(stack: Stack) -> None:
    assert stack.statsig_url is not None
    control = f"{stack.statsig_url}/control"
    down = json.dumps([{"behaviour": {"kind": "status", "status": 503}}]).encode()
    await pyqwest.Client().put(control, content=down)
    event_ids = await log_events(stack.ingress_url, 100)
    await until_logged(stack, "worker-1", "circuit_opened")

    await pyqwest.Client().delete(control)
    received = await until_delivered(event_ids, log_of(stack))

    assert received == dict.fromkeys(event_ids, 1)
    assert "message_dead_lettered" not in (stack.run_dir / "worker-1.log").read_text()


async def test_killing_the_worker_loses_nothing_and_doubles_at_most_what_was_in_flight(stack: Stack) -> None:
    event_ids = await log_events(stack.ingress_url, 400)
    stack.processes["worker-1"].send_signal(signal.SIGKILL)
    await stack.processes["worker-1"].wait()
    await stack.start_again("worker-1")
    event_ids += await log_events(stack.ingress_url, 100)

    received = await until_delivered(event_ids, log_of(stack))

    assert received.keys() == set(event_ids)
    assert max(received.values()) <= 2
