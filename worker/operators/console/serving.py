"""`nest-events console`: serves the pages on the loopback address until it is interrupted."""

import asyncio
import socket
from typing import Final

import anyio
from h2corn import Config, Server

from worker.operators.connections import Connections
from worker.operators.console.app import create_app
from worker.operators.console.security import ENTRY, Keys
from worker.operators.console.site import site_of
from worker.operators.exit_codes import OK, UsageError
from worker.operators.terminal.output import say, show_json

ADDRESS: Final = "127.0.0.1"
"""Never anything else: whoever reaches the console acts as its operator."""

GRACE_SECONDS: Final = 1.0
"""For answers in flight at the end. A replay has its own: it finishes its step."""

MOST_CONNECTIONS: Final = 64
"""A browser keeps six; some tabs and tools are welcome."""

LARGEST_HEAD: Final = 64 * 1024
"""The filters of a page are in its address."""

LARGEST_BODY: Final = 128 * 1024
"""Twice what `forms` reads, so that its own sentence is the answer."""


async def serve_console(connections: Connections, *, port: int, as_json: bool) -> int:
    """Print the address with its token, and serve until cancelled. Port 0 is any free one.

    Raises:
        UsageError: the port is taken.
    """
    try:
        listening = socket.create_server((ADDRESS, port))
    except (OSError, OverflowError) as error:
        raise UsageError(f"--port {port} is not free: {getattr(error, 'strerror', None) or error}") from error
    with listening:
        port = listening.getsockname()[1]
        keys = Keys()
        async with anyio.create_task_group() as tasks:
            site = site_of(connections, keys, tasks)
            server = Server(create_app(site, port=port), _config(listening))
            serving = asyncio.ensure_future(server.serve())
            try:
                await server.wait_started()
                _announce(f"http://{ADDRESS}:{port}{ENTRY}?token={keys.token}", as_json=as_json)
                await asyncio.shield(serving)
            finally:
                server.shutdown()
                with anyio.CancelScope(shield=True):
                    await serving
                tasks.cancel_scope.cancel()
    return OK


def _config(listening: socket.socket) -> Config:
    return Config(
        bind=(f"fd://{listening.fileno()}",),
        lifespan="off",
        access_log=False,
        runtime_threads=1,
        limit_connections=MOST_CONNECTIONS,
        limit_request_head_size=LARGEST_HEAD,
        limit_request_line=LARGEST_HEAD,
        limit_request_field_size=LARGEST_HEAD,
        max_request_body_size=LARGEST_BODY,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


def _announce(url: str, *, as_json: bool) -> None:
    if as_json:
        show_json({"url": url})
        return
    say(f"The console is at {url}")
    say("Only this machine reaches it, and only with this address. Ctrl-C ends it.")
