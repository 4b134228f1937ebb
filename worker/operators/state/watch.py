"""`nest-events watch`: the screen of `status`, refreshed."""

import sys
from collections.abc import Sequence

import anyio
from rich.console import Console
from rich.live import Live
from rich.text import Text

from worker.operators.connections import Connections
from worker.operators.state.snapshot import Snapshot, look
from worker.operators.state.status import as_dict, lines, show_status
from worker.operators.state.verdict import judged
from worker.operators.terminal.durations import moment
from worker.operators.terminal.output import clean, is_terminal, say, show_json, width


async def watch_events(connections: Connections, *, interval: float, once: bool, as_json: bool) -> int:
    """One screen after another until cancelled, or one with `once`. A dependency that is lost ends nothing."""
    if once:
        return await show_status(connections, as_json=as_json)
    if as_json or not is_terminal():
        while True:
            seen = await look(connections)
            if as_json:
                show_json(as_dict(seen, judged(seen)))
            else:
                _say_all([*frame(seen, width()), ""])
            await anyio.sleep(interval)
    last: Sequence[str] = ()
    console = Console(highlight=False)
    try:
        with Live(console=console, auto_refresh=False, screen=True) as screen:
            while True:
                last = list(frame(await look(connections), console.width))
                screen.update(Text("\n".join(fitting(last, console.height)), no_wrap=True), refresh=True)
                await anyio.sleep(interval)
    finally:
        # The live screen goes with its end; what it showed last belongs into the incident's notes.
        _say_all(last)
        sys.stdout.flush()


def frame(seen: Snapshot, columns: int) -> list[str]:
    """The screen's lines, of the same width as the terminal."""
    return [clean(line) for line in (f"nest-events watch   {moment(seen.at)}", "", *lines(seen, judged(seen), columns))]


def fitting(screen: Sequence[str], rows: int) -> list[str]:
    """What fits into so many rows, with a last line that says how many do not."""
    if len(screen) <= rows:
        return list(screen)
    return [*screen[: rows - 1], f"({len(screen) - rows + 1} more lines: `nest-events status` shows them)"]


def _say_all(texts: Sequence[str]) -> None:
    for text in texts:
        say(text)
