"""SIGTERM and SIGINT as a call in the event loop."""

import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio


@asynccontextmanager
async def on_termination(act: Callable[[signal.Signals], Awaitable[None] | None]) -> AsyncIterator[None]:
    """Call `act` for each SIGTERM and SIGINT until the block ends, in place of Python's own handling. Main thread only.

    If it returns an awaitable, this is awaited before the next signal is handled, and cancelled when the block ends.
    An exception of the block is raised as it is: the task group in here would wrap it in an ExceptionGroup.
    """
    failure: Exception | None = None
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with anyio.create_task_group() as tasks:

            async def receive() -> None:
                async for number in signals:
                    if (acting := act(signal.Signals(number))) is not None:
                        await acting

            tasks.start_soon(receive)
            try:
                yield
            except Exception as error:  # noqa: BLE001 - raised below, outside the group
                failure = error
            tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure
