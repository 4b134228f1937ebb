"""Makes a cancelled call over grpc.aio look cancelled to anyio."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio.lowlevel


@asynccontextmanager
async def anyio_cancellation() -> AsyncIterator[None]:
    """Wrap every call over grpc.aio in this.

    grpc.aio swallows the cancellation of a unary call and raises a CancelledError of its own, without the mark by which
    an anyio scope recognizes its own cancellation. Unwrapped, that error comes out of `fail_after` in place of a
    TimeoutError, and a task group takes it for the cancellation of all its tasks (grpcio 1.85, anyio 4.16;
    `tests/contract/test_silent_servers.py`).
    """
    try:
        yield
    except asyncio.CancelledError:
        # Raises the cancellation of the anyio scope, if one was cancelled.
        await anyio.lowlevel.checkpoint_if_cancelled()
        raise
