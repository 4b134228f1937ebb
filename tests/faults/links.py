"""A run's links: a TCP proxy for each pair of program and emulator, by name."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from deploy.local.emulators import Emulators
from tests.support.wire.tcp_proxy import TcpProxy, tcp_proxy

Links = Mapping[str, TcpProxy]


@asynccontextmanager
async def linked(emulators: Emulators) -> AsyncIterator[Links]:
    """The links `ingress-spanner`, `ingress-pubsub`, `worker-spanner` and `worker-pubsub`, which all workers share."""
    async with AsyncExitStack() as stack:
        yield {
            f"{program}-{emulator}": await stack.enter_async_context(tcp_proxy(host))
            for program in ("ingress", "worker")
            for emulator, host in (("spanner", emulators.spanner_host), ("pubsub", emulators.pubsub_host))
        }


def settings_of(links: Links) -> dict[str, dict[str, str]]:
    """Settings that point each program at its links."""
    return {
        program: {
            "SPANNER_EMULATOR_HOST": links[f"{program}-spanner"].address,
            "PUBSUB_EMULATOR_HOST": links[f"{program}-pubsub"].address,
        }
        for program in ("ingress", "worker")
    }
