"""The HTTP server: h2corn (HTTP/1.1 and HTTP/2 without TLS), its bounds set from the settings, stopped by a signal.

ARCHITECTURE.md says why this one, and what each alternative lacks. `tests/rpc/test_wire_*.py` are the requirements,
independent of the server.
"""

import asyncio
import signal
import socket
from typing import Final

from h2corn import Config, Server

from ingress.http.guard import AsgiApp
from ingress.http.listener import connections_allowed, open_listener, stop_accepting
from shared.process.logs import get_logger
from shared.process.settings import IngressSettings
from shared.process.signals import on_termination

GRACE_SECONDS: Final = 5.0
"""How long calls in flight may go on after SIGTERM. With the runtime's DRAIN_SECONDS it is 6.5 s, of the 10 s after
which Cloud Run kills."""

BODY_BYTES: Final = 64 * 1024 * 1024
"""The server's own limit for a body, far above the one of each method (`ingress/http/body_bounds.py`). A request that
declares more gets a 413 without a body."""

HTTP2_WINDOW_BYTES: Final = 1024 * 1024
"""What an HTTP/2 client may send ahead, on one stream and on all streams of a connection. The server keeps up to as
much in memory for each."""

_log = get_logger()


async def serve(app: AsgiApp, settings: IngressSettings) -> bool:
    """Serve until SIGTERM or SIGINT, then drain. False if the start failed; the reason is logged."""
    try:
        listening = open_listener(settings)
    except OSError as error:
        _log.error("start_failed", reason="address", error=str(error))
        return False
    with listening:
        server = server_on(listening, app, settings)

        async def stop(number: signal.Signals) -> None:
            _log.info("draining", signal=number.name)
            await stop_accepting(server, listening)

        async with on_termination(stop):
            serving = asyncio.ensure_future(server.serve())
            started = await _has_started(server)
            try:
                await serving
            except RuntimeError:  # if the start failed, the application has logged why
                if started:
                    raise
                return False
    return True


def server_on(listening: socket.socket, app: AsgiApp, settings: IngressSettings) -> Server:
    """A server for this application, not started. It handles no signals, and runs where `serve()` is awaited.

    Raises the process's soft limit of open files if that is needed (`connections_allowed`).
    """
    return Server(
        app,
        Config(
            bind=(f"fd://{listening.fileno()}",),
            lifespan="on",
            # `open_runtime` bounds its own start and end.
            timeout_lifespan_startup=0.0,
            timeout_lifespan_shutdown=0.0,
            access_log=False,
            log_format="json" if settings.log_format == "json" else "text",
            runtime_threads=1,
            grpc=True,
            limit_connections=connections_allowed(settings.max_connections),
            limit_request_head_size=settings.max_head_bytes,
            limit_request_field_size=settings.max_head_bytes,
            limit_request_line=settings.max_head_bytes,
            limit_request_fields=settings.max_headers,
            h2_max_header_list_size=settings.max_head_bytes,
            h2_max_header_block_size=settings.max_head_bytes,
            h2_initial_stream_window_size=HTTP2_WINDOW_BYTES,
            h2_initial_connection_window_size=HTTP2_WINDOW_BYTES,
            max_request_body_size=BODY_BYTES,
            timeout_handshake=settings.request_read_timeout_seconds,
            timeout_request_header=settings.idle_timeout_seconds,
            # Must be longer than `RequestBody` waits, which answers with a 504.
            timeout_request_body_idle=2 * settings.request_read_timeout_seconds,
            timeout_keep_alive=settings.idle_timeout_seconds,
            h2_timeout_write=settings.write_timeout_seconds,
            h2_timeout_response_stall=settings.write_timeout_seconds,
            timeout_graceful_shutdown=GRACE_SECONDS,
        ),
    )


async def _has_started(server: Server) -> bool:
    try:
        await server.wait_started()
    except RuntimeError:  # the awaited `serve()` raises it too
        return False
    _log.info("listening", addresses=server.addresses)
    return True
