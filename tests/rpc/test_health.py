"""healthz and readyz: for probes and people."""

import asyncio

import pytest

from tests.support.http1 import connection
from tests.support.ingress import Ingress, running_ingress
from tests.support.tcp_proxy import Mode, tcp_proxy

pytestmark = pytest.mark.emulators


@pytest.mark.asyncio(loop_scope="module")
async def test_is_alive_and_ready(ingress: Ingress) -> None:
    async with connection(ingress.port) as caller:
        alive = await caller.call(path="/healthz", method="GET", headers={})
        ready = await caller.call(path="/readyz", method="GET", headers={})

    assert (alive.status, alive.json()) == (200, {"status": "ok"})
    assert (ready.status, ready.json()) == (200, {"spanner": "ok", "topic": "ok"})


@pytest.mark.parametrize(
    ("variable", "name"), [("SPANNER_EMULATOR_HOST", "spanner"), ("PUBSUB_EMULATOR_HOST", "topic")]
)
@pytest.mark.parametrize("mode", [Mode.REFUSE, Mode.BLACKHOLE])
async def test_names_what_is_unreachable(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, variable: str, name: str, mode: Mode
) -> None:
    monkeypatch.setattr("ingress.readiness.CHECK_SECONDS", 0.4)
    async with (
        tcp_proxy(environment[variable]) as proxy,
        running_ingress(environment | {variable: proxy.address}) as ingress,
        connection(ingress.port) as caller,
    ):
        await proxy.switch(mode)
        async with asyncio.timeout(5):
            ready = await caller.call(path="/readyz", method="GET", headers={})
        alive = await caller.call(path="/healthz", method="GET", headers={})

    expected = {"spanner": "ok", "topic": "ok"} | {name: "unreachable"}
    assert (ready.status, ready.json()) == (503, expected)
    assert alive.status == 200


async def test_a_topic_that_is_not_there_is_unreachable(environment: dict[str, str]) -> None:
    async with (
        running_ingress(environment, FORWARD_TOPIC="absent") as ingress,
        connection(ingress.port) as caller,
    ):
        ready = await caller.call(path="/readyz", method="GET", headers={})

    assert (ready.status, ready.json()) == (503, {"spanner": "ok", "topic": "unreachable"})
