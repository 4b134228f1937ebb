"""/health and /ready, for probes and people."""

import asyncio
import os
from pathlib import Path

import anyio
import pytest

from deploy.local.processes import ManagedProcess, Supervisor, free_port
from deploy.local.stack import REPOSITORY, Starter
from tests.support.wire.http1 import connection
from tests.support.wire.ingress import Ingress, open_store, running_ingress
from tests.support.wire.tcp_proxy import Mode, tcp_proxy

pytestmark = pytest.mark.emulators

READY_BODY = {"spanner": "ok"}


@pytest.mark.asyncio(loop_scope="module")
async def test_is_alive_and_ready(ingress: Ingress) -> None:
    async with connection(ingress.port) as caller:
        alive = await caller.call(path="/health", method="GET", headers={})
        ready = await caller.call(path="/ready", method="GET", headers={})

    assert (alive.status, alive.json()) == (200, {"status": "ok"})
    assert (ready.status, ready.json()) == (200, READY_BODY)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/livez"])
async def test_nothing_is_at_the_paths_that_cloud_run_keeps_for_itself(ingress: Ingress, path: str) -> None:
    async with connection(ingress.port) as caller:
        assert (await caller.call(path=path, method="GET", headers={})).status == 404


@pytest.mark.parametrize("mode", [Mode.REFUSE, Mode.BLACKHOLE])
async def test_is_alive_and_not_ready_without_spanner(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, mode: Mode
) -> None:
    monkeypatch.setattr("ingress.readiness.CHECK_SECONDS", 0.4)
    async with (
        tcp_proxy(environment["SPANNER_EMULATOR_HOST"]) as proxy,
        running_ingress(environment, SPANNER_EMULATOR_HOST=proxy.address) as ingress,
        connection(ingress.port) as caller,
    ):
        await proxy.switch(mode)
        async with asyncio.timeout(5):
            ready = await caller.call(path="/ready", method="GET", headers={})
        alive = await caller.call(path="/health", method="GET", headers={})

    assert (ready.status, ready.json()) == (503, {"spanner": "unreachable"})
    assert alive.status == 200


async def test_a_topic_that_is_not_there_is_no_reason_not_to_be_ready(environment: dict[str, str]) -> None:
    async with (
        running_ingress(environment, FORWARD_TOPIC="absent") as ingress,
        connection(ingress.port) as caller,
    ):
        ready = await caller.call(path="/ready", method="GET", headers={})

    assert (ready.status, ready.json()) == (200, READY_BODY)


@pytest.mark.processes
@pytest.mark.parametrize("mode", [Mode.REFUSE, Mode.BLACKHOLE])
async def test_an_ingress_that_starts_while_pubsub_is_away_serves_and_what_it_takes_is_pending(
    environment: dict[str, str], tmp_path: Path, mode: Mode
) -> None:
    port = free_port()
    async with (
        tcp_proxy(environment["PUBSUB_EMULATOR_HOST"]) as proxy,
        open_store(environment) as store,
        Supervisor() as supervisor,
    ):
        await proxy.switch(mode)
        settings = {"PUBSUB_EMULATOR_HOST": proxy.address, "HOST": "127.0.0.1", "PORT": str(port)}
        process = await Starter(supervisor, tmp_path).python(
            "ingress", ["-m", "ingress"], {**os.environ, "PYTHONPATH": str(REPOSITORY), **environment, **settings}
        )
        await until_ready(process, port)
        async with connection(port) as caller:
            answer = await caller.call({"event_name": "taken", "forward_to_statsig": True})

        assert answer.status == 200
        (row,) = await store.rows()
        assert (row["event_id"], row["state"]) == (answer.json()["eventId"], "PENDING")
        assert process.returncode is None


async def until_ready(process: ManagedProcess, port: int) -> None:
    with anyio.fail_after(20):
        while True:
            assert process.returncode is None, "the ingress ended; see its log"
            try:
                async with connection(port) as caller:
                    ready = await caller.call(path="/ready", method="GET", headers={})
            except (ConnectionError, asyncio.IncompleteReadError):
                await anyio.sleep(0.05)
                continue
            if ready.status == 200:
                return
            await anyio.sleep(0.05)
