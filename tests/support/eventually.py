"""Waiting for a condition, with a deadline, in place of a fixed sleep."""

from collections.abc import Callable

import anyio


async def eventually(condition: Callable[[], object], *, seconds: float = 5.0) -> None:
    with anyio.move_on_after(seconds):
        while not condition():  # noqa: ASYNC110 - what it looks at has no event to wait for
            await anyio.sleep(0.001)
    assert condition(), f"did not come true within {seconds:g} s"
