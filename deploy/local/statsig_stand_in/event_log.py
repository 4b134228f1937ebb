"""The log of accepted events: JSON lines that are on disk before their request is answered."""

import asyncio
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """One line of the log. `received_at` is Unix time in seconds; `request` is the number of the event's request."""

    received_at: float
    request: int
    event: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        # Not dataclasses.asdict, which makes a deep copy of the event.
        return {"received_at": self.received_at, "request": self.request, "event": self.event}


def read_log(path: Path) -> list[LoggedEvent]:
    """The events accepted so far, in the order of the log."""
    with path.open("rb") as lines:
        # A last line without a newline is still being written: its request has not been answered.
        return [LoggedEvent(**json.loads(line)) for line in lines if line.endswith(b"\n")]


class EventLog:
    """Appends events. Calls that arrive during an fsync share the next one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = -1
        self._end = 0
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._flushing: asyncio.Task[None] | None = None
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="event-log")

    def open(self) -> None:
        """Open the file and cut off a partial last line; a restarted stand-in keeps all that it had accepted."""
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self._end = self.path.read_bytes().rfind(b"\n") + 1
        os.ftruncate(self._file, self._end)

    async def close(self) -> None:
        if self._flushing is not None:
            await self._flushing
        self._writer.shutdown()
        os.close(self._file)

    async def append(self, events: Sequence[LoggedEvent]) -> None:
        """Append the events; returns once they are on disk.

        Raises:
            OSError: writing failed; nothing of them is left in the log.
        """
        lines = b"".join(json.dumps(event.as_dict(), separators=(",", ":")).encode() + b"\n" for event in events)
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._waiting.append((lines, done))
        if self._flushing is None:
            self._flushing = loop.create_task(self._flush())
        await done

    async def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            group, self._waiting = self._waiting, []
            failure: Exception | None = None
            try:
                await loop.run_in_executor(self._writer, self._write, b"".join(lines for lines, _ in group))
            except Exception as error:  # noqa: BLE001 - raised again in every call that waits for this group
                failure = error
            for _, done in group:
                if done.cancelled():
                    continue
                if failure is None:
                    done.set_result(None)
                else:
                    done.set_exception(failure)
        self._flushing = None

    def _write(self, lines: bytes) -> None:
        try:
            rest = memoryview(lines)
            while rest:
                rest = rest[os.write(self._file, rest) :]
            os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, self._end)
            raise
        self._end += len(lines)
