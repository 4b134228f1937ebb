"""Waits for a condition with a deadline, in place of a fixed sleep."""

from collections.abc import Callable

import anyio


async def eventually(condition: Callable[[], object], *, seconds: float = 5.0) -> None:
    with anyio.move_on_after(seconds):
        while not condition():
            await anyio.sleep(0.001)
    assert condition(), f"did not come true within {seconds:g} s"
