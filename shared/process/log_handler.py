"""Where log lines are written, without waiting for whoever reads them.

A pipe that nobody empties takes 64 KiB and then blocks every writer: one log line would hold up the event loop, and
with it every call, for as long as the collector of logs is stuck. Lines that find no room are dropped and counted; the
first line after that tells how many. Only the rest of a line that is longer than a piece, and has begun, is waited for
a moment.
"""

import logging
import os
import select
import threading
from collections.abc import Callable
from typing import Any, Final, TextIO

PIECE_BYTES: Final = select.PIPE_BUF
"""A pipe that polls as writable takes so much without blocking (POSIX)."""

PATIENCE_MS: Final = 50
"""For each further piece of a line that has begun: a trace of a crash has some, the usual line none."""


class LineWriter:
    """Writes whole lines to a stream, from any thread, and never raises for what becomes of them.

    `report_dropped` is called with a number of lines, and may log. A stream that is no file, such as one in memory, is
    written to as it is.
    """

    def __init__(self, stream: TextIO, *, report_dropped: Callable[[int], None]) -> None:
        self._stream = stream
        self._descriptor = _descriptor(stream)
        self._report_dropped = report_dropped
        self._lock = threading.RLock()  # the report comes back here
        self._broken_off = False
        self._poll = select.poll()
        if self._descriptor is not None:
            self._poll.register(self._descriptor, select.POLLOUT)
        self.dropped = 0
        """Lines since the last report."""

    def write(self, line: bytes) -> None:
        """Write a line, given without its end, or drop it."""
        with self._lock:
            if self._descriptor is None:
                self._stream.write(line.decode(errors="backslashreplace") + "\n")
                return
            if not self._is_writable():
                self.dropped += 1
                return
            dropped, self.dropped = self.dropped, 0
            if dropped:
                self._report_dropped(dropped)
                if self.dropped:  # no room for the report either
                    self.dropped += dropped
                    return
            try:
                self._write_pieces(self._descriptor, line + b"\n")
            except OSError:
                self.dropped += 1  # the reader is gone: whoever comes next is told

    def _write_pieces(self, descriptor: int, line: bytes) -> None:
        if self._broken_off:
            line = b"\n" + line
        begun = False
        while line:
            # Before each piece, the first included: the report before it may have taken the room.
            if not self._is_writable(PATIENCE_MS if begun else 0):
                self._broken_off |= begun
                self.dropped += 1
                return
            line = line[os.write(descriptor, line[:PIECE_BYTES]) :]
            begun, self._broken_off = True, False

    def _is_writable(self, patience_ms: int = 0) -> bool:
        return bool(self._poll.poll(patience_ms))  # also where the reader is gone: the write then says so


class LineHandler(logging.Handler):
    """The standard library's records, to a LineWriter."""

    def __init__(self, writer: LineWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._writer.write(self.format(record).encode(errors="backslashreplace"))
        except RecursionError:
            raise
        except Exception:  # noqa: BLE001 - as StreamHandler does: a line that cannot be written ends nobody's call
            self.handleError(record)


class LineLogger:
    """What structlog hands a rendered line to, past the standard library's records, which cost 25 µs a line."""

    def __init__(self, writer: LineWriter) -> None:
        self._writer = writer

    def write(self, line: bytes | str) -> None:
        self._writer.write(line if isinstance(line, bytes) else line.encode(errors="backslashreplace"))

    debug = info = warning = error = critical = exception = msg = write


def _descriptor(stream: Any) -> int | None:
    """None where the stream is no file."""
    try:
        found: int = stream.fileno()
    except (OSError, ValueError, AttributeError):
        return None
    return found
