"""Writes log lines without waiting for their reader.

A pipe whose reader is stuck takes 64 KiB and then blocks its writers: one log line would block the event loop, and with
it every call. So lines for which the pipe has no room are dropped and counted, and the number is reported before the
next line that fits. Only within a line longer than PIECE_BYTES does the writer wait, up to PATIENCE_MS for each piece.
"""

import logging
import os
import select
import threading
from collections.abc import Callable
from typing import Any, Final, TextIO

PIECE_BYTES: Final = select.PIPE_BUF
"""Bytes that a pipe takes without blocking while it polls as writable (POSIX)."""

PATIENCE_MS: Final = 50
"""How long to wait for room for each further piece of a line that has begun. A traceback has further pieces, the usual
line none."""


class LineWriter:
    """Writes whole lines to a stream, from any thread. Drops and counts lines that it cannot write.

    `report_dropped` is called with the number of dropped lines, and may log. A stream without a file descriptor, such
    as one in memory, is written to directly.
    """

    def __init__(self, stream: TextIO, *, report_dropped: Callable[[int], None]) -> None:
        self._stream = stream
        self._descriptor = _descriptor(stream)
        self._report_dropped = report_dropped
        self._lock = threading.RLock()  # re-entrant: report_dropped logs through this writer
        self._is_line_cut = False
        self._poll = select.poll()
        if self._descriptor is not None:
            self._poll.register(self._descriptor, select.POLLOUT)
        self.dropped = 0
        """Lines dropped since the last report."""

    def write(self, line: bytes) -> None:
        """Write a line, given without its line feed, or drop it."""
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
                self.dropped += 1  # the reader is gone

    def _write_pieces(self, descriptor: int, line: bytes) -> None:
        if self._is_line_cut:
            line = b"\n" + line
        begun = False
        while line:
            # Polled before the first piece too: the report may have taken the room.
            if not self._is_writable(PATIENCE_MS if begun else 0):
                self._is_line_cut |= begun
                self.dropped += 1
                return
            line = line[os.write(descriptor, line[:PIECE_BYTES]) :]
            begun, self._is_line_cut = True, False

    def _is_writable(self, patience_ms: int = 0) -> bool:
        return bool(self._poll.poll(patience_ms))  # also true if the reader is gone: the write then raises


class LineHandler(logging.Handler):
    """Writes the standard library's log records to a LineWriter."""

    def __init__(self, writer: LineWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._writer.write(self.format(record).encode(errors="backslashreplace"))
        except RecursionError:
            raise
        except Exception:  # noqa: BLE001 - as StreamHandler does: a failed log line must not fail a call
            self.handleError(record)


class LineLogger:
    """Takes rendered lines from structlog, without the standard library's records: 25 µs a line less."""

    def __init__(self, writer: LineWriter) -> None:
        self._writer = writer

    def write(self, line: bytes | str) -> None:
        self._writer.write(line if isinstance(line, bytes) else line.encode(errors="backslashreplace"))

    debug = info = warning = error = critical = exception = msg = write


def _descriptor(stream: Any) -> int | None:
    """The stream's file descriptor; None if it has none."""
    try:
        found: int = stream.fileno()
    except (OSError, ValueError, AttributeError):
        return None
    return found
