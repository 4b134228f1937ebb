"""The HTTP server: uvicorn with the bounds it lacks, ended by a signal task."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import anyio
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ingress.edge import AsgiApp
from shared.logs import get_logger
from shared.settings import IngressSettings

GRACE_SECONDS: Final = 5
"""For calls in flight after SIGTERM. With the runtime's own end this stays within 7 s; Cloud Run kills after 10."""

KEEP_ALIVE_SECONDS: Final = 75
"""An idle connection is kept longer than the usual client and load balancer keep it (60 s), so that it is they who
close it: a server that closes first races with the next request."""

BACKLOG: Final = 2048

_log = get_logger()


class BoundedHttpProtocol(HttpToolsProtocol):
    """Closes a connection on which a request's head does not arrive in time: uvicorn waits for ever."""

    head_timeout_seconds = 10.0
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn declares it
        super().connection_made(transport)
        self._start_timer()

    def on_message_begin(self) -> None:
        self._stop_timer()
        self._start_timer()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._stop_timer()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def _start_timer(self) -> None:
        self._head_timer = self.loop.call_later(self.head_timeout_seconds, self.transport.close)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to `serve`: uvicorn raises a captured one again at the end, and the exit code is not 0."""
        yield


async def serve(app: AsgiApp, settings: IngressSettings) -> bool:
    """Serve until SIGTERM or SIGINT, then drain. False where the application did not start."""
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=BoundedHttpProtocol,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    server = _Server(config)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_stop_on_signal, server)
        await server.serve()
        tasks.cancel_scope.cancel()
    return server.started


async def _stop_on_signal(server: uvicorn.Server) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            _log.info("draining", signal=signal.Signals(number).name)
            server.should_exit = True
