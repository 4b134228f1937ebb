"""The ways that are compared: programs that serve the same RPC or forward the same messages.

Servers get their port as PORT.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A program to start."""

    name: str
    module: str
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def arguments(self) -> list[str]:
        """The arguments of the interpreter."""
        return ["-m", self.module]


THIS: Final = Way(
    name="this",
    module="ingress",
    # The emulator works on one transaction at a time and aborts the others. Spanner does not, so the default is higher.
    settings={"COMMIT_CONCURRENCY": "1"},
)
TEXTBOOK: Final = Way(name="textbook", module="tests.bench.servers.textbook")
TUNED: Final = Way(
    name="tuned",
    module="tests.bench.servers.textbook",
    # As many threads as the most connections, and the settings that the emulator calls for.
    settings={"TEXTBOOK_THREADS": "128", "TEXTBOOK_ABORTED_RETRY_SECONDS": "0.003", "TEXTBOOK_PUBLISH_DELAY": "0"},
)
GRPCAIO: Final = Way(name="grpcaio", module="tests.bench.servers.grpcaio")
INLINE: Final = Way(name="inline", module="tests.bench.servers.inline")
ASGI_ECHO: Final = Way(name="ASGI echo", module="tests.bench.servers.asgi_echo")
CONNECT_ECHO: Final = Way(name="Connect echo", module="tests.bench.servers.connect_echo")

PEERS: Final = (TEXTBOOK, TUNED, GRPCAIO, INLINE)
ECHOES: Final = (ASGI_ECHO, CONNECT_ECHO)
"""Limits: servers that do nothing."""

SERVERS: Final = (*PEERS, THIS, *ECHOES)

THIS_WORKER: Final = Way(name="this", module="worker")
TEXTBOOK_WORKER: Final = Way(name="textbook-worker", module="tests.bench.servers.textbook_worker")
WORKERS: Final = (TEXTBOOK_WORKER, THIS_WORKER)

NAMES: Final = tuple(dict.fromkeys(way.name for way in (*SERVERS, *WORKERS)))
