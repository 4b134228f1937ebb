"""The HTTP server: h2corn (HTTP/1.1 and HTTP/2 without TLS) with every bound that it has, ended by a signal.

Why this one, and what each alternative lacks: ARCHITECTURE.md. What it must do is in tests/rpc/test_wire_*.py, which
know nothing of it.
"""

import asyncio
import resource
import signal
import socket
import sys
from typing import Final

import anyio
from h2corn import Config, Server

from ingress.http.guard import AsgiApp
from shared.process.logs import get_logger
from shared.process.settings import IngressSettings

GRACE_SECONDS: Final = 5.0
"""For calls in flight after SIGTERM. With the runtime's own end this stays within 7 s; Cloud Run kills after 10."""

BODY_BYTES: Final = 64 * 1024 * 1024
"""The server's own limit for a body; `ingress/http/body_bounds.py` has a far lower one for each method. A body that
announces more is answered 413 without a body."""

HTTP2_WINDOW_BYTES: Final = 1024 * 1024
"""What a client may send ahead, on one stream and on all of a connection. As much waits in memory for each."""

BACKLOG: Final = 2048

OTHER_FILES: Final = 100
"""Open beside connections: those to Google, and what Python and uvloop hold. Some thirty."""

_log = get_logger()


async def serve(app: AsgiApp, settings: IngressSettings) -> bool:
    """Serve until SIGTERM or SIGINT, then drain. False where the start failed, which the log explains."""
    try:
        listening = listener(settings)
    except OSError as error:
        _log.error("start_failed", reason="address", error=str(error))
        return False
    _allow_files(settings.max_connections + OTHER_FILES)
    with listening:
        server = server_on(listening, app, settings)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_stop_on_signal, server)
            serving = asyncio.ensure_future(server.serve())
            started = await _has_started(server)
            try:
                await serving
            except RuntimeError:  # of a start, the application has said why
                if started:
                    raise
                return False
            finally:
                tasks.cancel_scope.cancel()
    return True


def listener(settings: IngressSettings) -> socket.socket:
    """A socket that listens, and hands its bound on writing to every connection.

    The server has none for HTTP/1.1. The kernel resets a connection whose client takes nothing for so long.

    Raises:
        OSError: the address is taken, or is none.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.create_server((settings.host, settings.port), family=family, backlog=BACKLOG)
    if sys.platform == "linux":
        milliseconds = int(settings.write_timeout_seconds * 1000)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
    return listening


def server_on(listening: socket.socket, app: AsgiApp, settings: IngressSettings) -> Server:
    """The server of this application, not yet started. It takes no signals and runs in the event loop of `serve()`."""
    return Server(
        app,
        Config(
            bind=(f"fd://{listening.fileno()}",),
            lifespan="on",
            # `open_runtime` has bounds of its own, for the start and for the end.
            timeout_lifespan_startup=0.0,
            timeout_lifespan_shutdown=0.0,
            access_log=False,
            log_format="json" if settings.log_format == "json" else "text",
            runtime_threads=1,
            grpc=True,
            limit_connections=settings.max_connections,
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
            # Counts on while a call is answered 504 by the edge, which is to come first.
            timeout_request_body_idle=2 * settings.request_read_timeout_seconds,
            timeout_keep_alive=settings.idle_timeout_seconds,
            h2_timeout_write=settings.write_timeout_seconds,
            h2_timeout_response_stall=settings.write_timeout_seconds,
            timeout_graceful_shutdown=GRACE_SECONDS,
        ),
    )


def _allow_files(count: int) -> None:
    """So many may be open at once, as far as the process may decide that: often it begins with 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft < count:  # else there is no limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (count if hard < 0 else min(count, hard), hard))


async def _has_started(server: Server) -> bool:
    try:
        await server.wait_started()
    except RuntimeError:  # `serve()` raises it too
        return False
    _log.info("listening", addresses=server.addresses)
    return True


async def _stop_on_signal(server: Server) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            _log.info("draining", signal=signal.Signals(number).name)
            server.shutdown()
