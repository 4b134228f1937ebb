"""`nest-events tail`: prints events as they come, until it is interrupted."""

from typing import Any, Final

import anyio
import typer

from shared.errors import StorageUnavailableError
from worker.operators.connections import Connections
from worker.operators.events.tail import Tail
from worker.operators.events.tail_events import Batch, TailChoice, TailedEvent
from worker.operators.failure_reasons import explained
from worker.operators.terminal.durations import shown
from worker.operators.terminal.output import check_reader, show_json_line, show_row, width

COLUMNS: Final = ("time", "event name", "caller", "state", "reason", "event_id")

TIME_WIDTH, STATE_WIDTH, REASON_WIDTH, ID_WIDTH = 20, 11, 14, 36
GAPS: Final = 10
"""Two blanks between two columns."""

NARROWEST: Final = 12
"""Columns for a name or a caller, however narrow the terminal is."""


async def tail_events(connections: Connections, *, choice: TailChoice, interval: float, as_json: bool) -> int:
    """Print what is new every `interval` seconds until cancelled. Goes on while Spanner is away.

    Raises:
        StorageUnavailableError: Spanner did not answer the first question.
        OutputFailedError: nobody reads the answer any more.
    """
    tail = Tail(connections.database, choice, shards=connections.settings.forward_shards)
    lines = _JsonLines() if as_json else _Lines()
    await tail.next()
    lines.begin()
    is_away = False
    while True:
        await anyio.sleep(interval)
        check_reader()
        try:
            batch = await tail.next()
        except StorageUnavailableError as error:
            if not is_away:
                lines.away(explained(error, connections.settings))
            is_away = True
            continue
        if is_away:
            lines.back()
        is_away = False
        lines.show(batch)


class _Lines:
    """Events on stdout, and what is to be said about them on stderr, so that a pipe has one event a line."""

    def __init__(self) -> None:
        free = width() - TIME_WIDTH - STATE_WIDTH - REASON_WIDTH - ID_WIDTH - GAPS
        each = max(NARROWEST, free // 2)
        self._widths = (TIME_WIDTH, each, each, STATE_WIDTH, REASON_WIDTH, ID_WIDTH)

    def begin(self) -> None:
        show_row(COLUMNS, self._widths)

    def away(self, why: str) -> None:
        self._note(f"{why}; goes on when it is back")

    def back(self) -> None:
        self._note("Spanner is back")

    def show(self, batch: Batch) -> None:
        if batch.skipped:
            self._note(f"… {shown(batch.skipped)} not looked at: see `nest-events trace --event-name` for it")
        if batch.unwatched:
            self._note(f"… {batch.unwatched:,} more are awaited: their delivery will not be shown")
        if batch.left_out:
            self._note(f"… {batch.left_out:,} more")
        for event in batch.events:
            values = (event.at, event.event_name, event.caller, event.state, event.reason, event.event_id)
            show_row(values, self._widths)

    def _note(self, text: str) -> None:
        typer.echo(text, err=True)


class _JsonLines:
    """A JSON object a line. One with `notice` is about the answer itself; all others are events."""

    def begin(self) -> None:
        """Nothing: the keys are in each line."""

    def away(self, why: str) -> None:
        show_json_line({"notice": "unavailable", "why": why})

    def back(self) -> None:
        show_json_line({"notice": "available"})

    def show(self, batch: Batch) -> None:
        if batch.skipped:
            show_json_line({"notice": "skipped", "seconds": batch.skipped.total_seconds(), "until": batch.until})
        if batch.unwatched:
            show_json_line({"notice": "unwatched", "events": batch.unwatched})
        if batch.left_out:
            show_json_line({"notice": "left_out", "events": batch.left_out})
        for event in batch.events:
            show_json_line(as_dict(event))


def as_dict(event: TailedEvent) -> dict[str, Any]:
    """The event as a JSON line has it."""
    return {
        "at": event.at,
        "event_name": event.event_name,
        "caller": event.caller,
        "state": event.state,
        "reason": event.reason,
        "event_id": event.event_id,
    }
