"""Where log lines are written, without waiting for whoever reads them.

A pipe that nobody empties takes 64 KiB and then blocks every writer: one log line would hold up the event loop, and
with it every call, for as long as the collector of logs is stuck. Lines that find no room are dropped and counted; the
first line after that tells how many. Only the rest of a line that is longer than a piece, and has begun, is waited for
a moment.
"""

import logging
import os
import select
from collections.abc import Callable
from typing import Any, Final, TextIO

PIECE_BYTES: Final = select.PIPE_BUF
"""A pipe that polls as writable takes so much without blocking (POSIX)."""

PATIENCE_MS: Final = 50
"""For each further piece of a line that has begun: a trace of a crash has some, the usual line none."""


class UnblockedHandler(logging.StreamHandler[TextIO]):
    """A StreamHandler. `report_dropped` is called with a number of lines, and may log."""

    def __init__(self, stream: TextIO, *, report_dropped: Callable[[int], None]) -> None:
        super().__init__(stream)
        self._report_dropped = report_dropped
        self._dropped = 0
        self._broken_off = False

    def emit(self, record: logging.LogRecord) -> None:
        descriptor = _descriptor(self.stream)
        if descriptor is None:
            super().emit(record)
            return
        if not _is_writable(descriptor):
            self._dropped += 1
            return
        dropped, self._dropped = self._dropped, 0
        if dropped:
            self._report_dropped(dropped)  # comes back here first; the handler's lock is reentrant
            if self._dropped:  # no room for the report either
                self._dropped += dropped
                return
        try:
            self._write(descriptor, f"{self.format(record)}{self.terminator}".encode(errors="backslashreplace"))
        except RecursionError:
            raise
        except Exception:  # noqa: BLE001 - as StreamHandler does: a line that cannot be written ends nobody's call
            self.handleError(record)

    def _write(self, descriptor: int, line: bytes) -> None:
        if self._broken_off:
            line = self.terminator.encode() + line
        begun = False
        while line:
            # Before each piece, the first included: the report before it may have taken the room.
            if not _is_writable(descriptor, PATIENCE_MS if begun else 0):
                self._broken_off |= begun
                self._dropped += 1
                return
            line = line[os.write(descriptor, line[:PIECE_BYTES]) :]
            begun, self._broken_off = True, False


def _descriptor(stream: Any) -> int | None:
    """None where the stream is no file, such as one in memory."""
    try:
        found: int = stream.fileno()
    except (OSError, ValueError, AttributeError):
        return None
    return found


def _is_writable(descriptor: int, patience_ms: int = 0) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    # Also True where the reader is gone: the write then says so.
    return bool(poll.poll(patience_ms))
