"""The environment and the live processes of programs that a test starts."""

import os
from collections.abc import Callable
from pathlib import Path

import anyio


def environ(**changes: str) -> dict[str, str]:
    """The environment without the addresses of a developer's own emulators, with `changes`."""
    ours = {name: value for name, value in os.environ.items() if not name.endswith("_EMULATOR_HOST")}
    return ours | changes


def members(groups: list[int]) -> list[str]:
    """The live processes of these process groups, as /proc has them; zombies do not count."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        state, _parent, group = text.rpartition(")")[2].split()[:3]
        if int(group) in groups and state != "Z":
            found.append(text)
    return found


async def until(condition: Callable[[], bool], seconds: float) -> None:
    with anyio.fail_after(seconds):
        while not condition():
            await anyio.sleep(0.02)
