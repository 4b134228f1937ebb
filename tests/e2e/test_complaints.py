"""Counts of warnings and refusals outlive the process that made them."""

import signal
from pathlib import Path

import anyio
import pytest

from deploy.local.emulators import Emulators
from deploy.local.provision import StackNames
from deploy.local.stack import StackOptions, running_stack
from shared.process.reporting import INTERVAL_SECONDS
from tests.support.operators.nest_events import nest_events
from tests.support.wire.http1 import connection

pytestmark = [pytest.mark.emulators, pytest.mark.processes]


@pytest.mark.timeout(90)
async def test_a_killed_ingress_leaves_what_it_counted_before_its_last_report(
    emulators: Emulators, names: StackNames, environment: dict[str, str], tmp_path: Path
) -> None:
    async def refusals() -> int:
        told = (await nest_events(environment, "warnings", "--json")).json
        return int(told["refusals"])

    async with running_stack(tmp_path, StackOptions(workers=0), names=names, emulators=emulators) as stack:
        port = int(stack.ingress_url.rpartition(":")[2])
        async with connection(port) as caller:
            for _ in range(3):
                assert (await caller.call({"event_name": " "})).status == 400
        with anyio.fail_after(INTERVAL_SECONDS + 5):
            while await refusals() < 3:
                await anyio.sleep(0.1)
        stack.processes["ingress"].send_signal(signal.SIGKILL)
        await stack.processes["ingress"].wait()
        await stack.start_again("ingress")
        async with connection(port) as caller:
            assert (await caller.call({"event_name": " "})).status == 400
        stack.processes["ingress"].send_signal(signal.SIGTERM)
        assert await stack.processes["ingress"].wait() == 0

        assert await refusals() == 4
