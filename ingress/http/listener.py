"""Accepting connections: the listening socket, how many may be open, and the end.

If accept(2) fails, for whatever reason, h2corn 2.0 cuts off every call in flight, and `serve()` raises. What is here
keeps it from failing: file descriptors do not run out, and the socket is not shut down before the last accept(2).
"""

import asyncio
import fcntl
import os
import resource
import socket
import struct
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from h2corn import Server

from shared.process.logs import get_logger
from shared.process.settings import IngressSettings

BACKLOG: Final = 2048
"""Connections that the kernel completes before the server accepts them."""

OTHER_FILES: Final = 100
"""File descriptors beside those of connections. Google's clients, Python and uvloop hold some thirty."""

POLL_SECONDS: Final = 0.01
"""How often `stop_accepting` looks whether the server's thread has noticed. An idle one does at once."""

_log = get_logger()


def open_listener(settings: IngressSettings) -> socket.socket:
    """Open the listening socket, with a bound on writing that every accepted connection inherits.

    The server has no such bound for HTTP/1.1. On Linux the kernel resets a connection whose client takes nothing for
    WRITE_TIMEOUT_SECONDS.

    Raises:
        OSError: the address is taken or invalid.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.create_server((settings.host, settings.port), family=family, backlog=BACKLOG)
    if sys.platform == "linux":
        milliseconds = int(settings.write_timeout_seconds * 1000)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
    return listening


def connections_allowed(wanted: int) -> int:
    """`wanted`, or as many as the hard limit of open files leaves. The soft limit, often 1,024, is raised as needed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + OTHER_FILES
    if hard < 0 or needed <= hard:  # negative: no limit
        if 0 <= soft < needed:
            resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
        return wanted
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    allowed = max(hard - OTHER_FILES, 1)
    _log.warning("connections_limited", wanted=wanted, allowed=allowed, file_limit=hard)
    return allowed


async def stop_accepting(server: Server, listening: socket.socket) -> None:
    """Let the server drain, and refuse new connections once its thread accepts no more. May be called again.

    Of itself h2corn 2.0 leaves them in the kernel's queue, where a call would wait until the process ends. A thread
    that is behind, for example after the instance had no CPU, goes on accepting for a while. On a socket that is shut
    down its accept(2) would fail with EINVAL.
    """
    with _stop_pipe(server) as pipe:
        if pipe is not None and sys.platform == "linux":  # elsewhere a listening socket cannot be shut down
            # `shutdown` tells the thread in a second way too. If that came first, it would not read the pipe.
            os.write(pipe, b"S")
            while _unread_bytes(pipe):  # noqa: ASYNC110 - a pipe has no event for "read"
                await asyncio.sleep(POLL_SECONDS)
            listening.shutdown(socket.SHUT_RDWR)
        server.shutdown()


@contextmanager
def _stop_pipe(server: Server) -> Iterator[int | None]:
    """The pipe from which the server's thread reads that it is to stop. None before it serves, and once it was told.

    A thread that has read from it accepts nothing afterwards (`serve_listeners` in h2corn's `server.rs`).
    """
    generation = server._generation  # noqa: SLF001 - nothing public tells when the thread has noticed
    if generation is None or generation.quiesce_write_fd is None:
        yield None
        return
    pipe = os.dup(generation.quiesce_write_fd)  # `Server.shutdown` closes the original
    try:
        yield pipe
    finally:
        os.close(pipe)


def _unread_bytes(pipe: int) -> int:
    (count,) = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(struct.calcsize("i"))))
    return int(count)
