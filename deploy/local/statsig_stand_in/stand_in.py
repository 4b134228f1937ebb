"""A running stand-in: wires its parts, listens, and shuts down."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.local.statsig_stand_in.connection import Connection
from deploy.local.statsig_stand_in.event_log import EventLog, LoggedEvent, read_log
from deploy.local.statsig_stand_in.ingest import Ingest
from deploy.local.statsig_stand_in.request_log import LoggedRequest, RequestLog, read_requests
from deploy.local.statsig_stand_in.routes import Routes
from deploy.local.statsig_stand_in.rules import Rule, RuleBook
from deploy.local.statsig_stand_in.tally import Tally


@dataclass(frozen=True, slots=True)
class StandIn:
    """A stand-in in this process. `api_url` is the value for `STATSIG_API_URL`."""

    url: str
    log_path: Path
    _rules: RuleBook
    _tally: Tally

    @property
    def api_url(self) -> str:
        return f"{self.url}/v1"

    def behave(self, rules: Sequence[Rule]) -> None:
        """Replace the rules, like PUT /control; without rules everything is accepted."""
        self._rules.replace(rules)

    def stats(self) -> dict[str, Any]:
        return self._tally.stats()

    def logged(self) -> list[LoggedEvent]:
        return read_log(self.log_path)

    def requests(self) -> list[LoggedRequest]:
        return list(read_requests(self.log_path))


@asynccontextmanager
async def running_stand_in(log_path: Path, *, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[StandIn]:
    """Listen on a free port unless one is given; on exit drop every connection, then close the logs.

    Raises:
        OSError: a log cannot be opened, or the address is taken.
    """
    log, request_log, rules, tally = EventLog(log_path), RequestLog(log_path), RuleBook(), Tally()
    routes = Routes(Ingest(rules, log, request_log, tally), rules, tally)
    connections: set[Connection] = set()
    tasks: set[asyncio.Task[None]] = set()
    log.open()
    request_log.open()
    try:
        server = await asyncio.get_running_loop().create_server(
            lambda: Connection(routes, connections, tasks), host, port, backlog=1024
        )
        try:
            bound_port = server.sockets[0].getsockname()[1]
            yield StandIn(f"http://{host}:{bound_port}", log_path, rules, tally)
        finally:
            server.close()
            for connection in list(connections):
                connection.abort()
            await server.wait_closed()
            # Requests being served end by themselves now that their connections are gone.
            while tasks:
                await asyncio.wait(tasks)
    finally:
        request_log.close()
        await log.close()
