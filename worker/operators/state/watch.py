"""`nest-events watch`: the screen of `status`, refreshed."""

import sys
from collections.abc import Sequence

import anyio
from rich.console import Console
from rich.live import Live
from rich.text import Text

from worker.operators.connections import Connections
from worker.operators.state.snapshot import Snapshot, take_snapshot
from worker.operators.state.status import as_dict, lines, show_status
from worker.operators.state.verdict import judge
from worker.operators.terminal.durations import moment
from worker.operators.terminal.output import clean, is_terminal, say, show_json, width


async def watch_events(connections: Connections, *, interval: float, once: bool, as_json: bool) -> int:
    """Print a screen every `interval` seconds until cancelled, or one with `once`. Goes on while a dependency is down.

    On a terminal the screen is refreshed in place, and the last one stays when the command ends.
    """
    if once:
        return await show_status(connections, as_json=as_json)
    if as_json or not is_terminal():
        while True:
            snapshot = await take_snapshot(connections)
            if as_json:
                show_json(as_dict(snapshot, judge(snapshot)))
            else:
                _say_all([*screen_lines(snapshot, width()), ""])
            await anyio.sleep(interval)
    last: Sequence[str] = ()
    console = Console(highlight=False)
    try:
        with Live(console=console, auto_refresh=False, screen=True) as screen:
            while True:
                last = screen_lines(await take_snapshot(connections), console.width)
                screen.update(Text("\n".join(fitting(last, console.height)), no_wrap=True), refresh=True)
                await anyio.sleep(interval)
    finally:
        # The live screen disappears when it ends; the operator may need its last state for the incident's notes.
        _say_all(last)
        sys.stdout.flush()


def screen_lines(snapshot: Snapshot, columns: int) -> list[str]:
    """The screen of `status` under a title, wrapped to so many columns."""
    screen = lines(snapshot, judge(snapshot), columns)
    return [clean(line) for line in (f"nest-events watch   {moment(snapshot.at)}", "", *screen)]


def fitting(screen: Sequence[str], rows: int) -> list[str]:
    """The first lines that fit into so many rows; where some do not, the last line says how many."""
    if len(screen) <= rows:
        return list(screen)
    return [*screen[: rows - 1], f"({len(screen) - rows + 1} more lines: `nest-events status` shows them)"]


def _say_all(texts: Sequence[str]) -> None:
    for text in texts:
        say(text)
