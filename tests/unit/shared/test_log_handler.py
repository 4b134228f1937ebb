"""The log handler when its reader stalls: lines are dropped and counted, and the process does not wait."""

import io
import logging
import os
from collections.abc import Iterator
from typing import TextIO

import pytest

from shared.process.log_handler import PIECE_BYTES, LineHandler, LineLogger, LineWriter


class Pipe:
    """A writer into a pipe."""

    def __init__(self, reader: int, writer: TextIO) -> None:
        self.reader = reader
        self.reported: list[int] = []
        self.padding = ""
        self.writer = LineWriter(writer, report_dropped=self._report)

    def log(self, text: str) -> None:
        self.writer.write(text.encode())

    def _report(self, lines: int) -> None:
        self.reported.append(lines)
        self.log(f"dropped {lines}{self.padding}")

    def read(self) -> str:
        """What is in it now."""
        os.set_blocking(self.reader, False)
        pieces = []
        while True:
            try:
                pieces.append(os.read(self.reader, 1 << 20))
            except BlockingIOError:
                return b"".join(pieces).decode()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream:
        yield Pipe(reader, stream)
    os.close(reader)


def fill(pipe: Pipe) -> int:
    """Log until a line is dropped; how many were written."""
    written = 0
    while not pipe.writer.dropped:
        pipe.log(f"line {written} {'x' * 200}")
        written += 1
    return written - 1


def test_lines_are_written_in_order(pipe: Pipe) -> None:
    for number in range(100):
        pipe.log(f"line {number}")

    assert pipe.read().splitlines() == [f"line {number}" for number in range(100)]


def test_a_full_pipe_drops_lines_and_the_next_one_says_how_many(pipe: Pipe) -> None:
    written = fill(pipe)
    for _ in range(9):
        pipe.log("into the void")

    before = pipe.read().splitlines()
    pipe.log("again")

    assert len(before) == written
    assert pipe.reported == [10]
    assert pipe.read().splitlines() == ["dropped 10", "again"]


def test_a_line_that_breaks_off_ends_before_the_next_one_begins(pipe: Pipe) -> None:
    pipe.log("a" * (64 * 1024 - 2 * PIECE_BYTES))
    pipe.log("b" * 4 * PIECE_BYTES)

    first, cut = pipe.read().splitlines()
    pipe.log("next")

    assert set(first) == {"a"}
    assert set(cut) == {"b"}
    assert len(cut) < 4 * PIECE_BYTES
    assert pipe.read().splitlines() == ["", "dropped 1", "next"]


def test_a_long_line_is_written_whole_where_there_is_room(pipe: Pipe) -> None:
    line = "ü" * 10_000
    pipe.log(line)

    assert pipe.read() == f"{line}\n"


def test_a_line_for_a_reader_that_is_gone_ends_nobodys_call_and_is_counted(pipe: Pipe) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, pipe.reader)
    os.close(null)

    pipe.log("to nobody")

    assert pipe.writer.dropped == 1


def test_a_stream_in_memory_is_written_as_usual() -> None:
    stream = io.StringIO()
    writer = LineWriter(stream, report_dropped=lambda _: None)

    LineHandler(writer).handle(logging.makeLogRecord({"msg": "of the standard library"}))
    LineLogger(writer).info(b"of structlog")

    assert stream.getvalue() == "of the standard library\nof structlog\n"


def test_a_report_that_takes_the_last_room_blocks_nobody(pipe: Pipe) -> None:
    fill(pipe)
    os.read(pipe.reader, PIECE_BYTES)
    pipe.padding = "r" * (PIECE_BYTES - 100)

    pipe.log("x" * 4000)

    assert pipe.reported == [1]
    assert pipe.writer.dropped == 1


def test_a_report_without_room_is_made_up_for_by_the_next_one(pipe: Pipe) -> None:
    fill(pipe)
    os.read(pipe.reader, PIECE_BYTES)
    pipe.padding = "r" * 3 * PIECE_BYTES
    pipe.log("first")  # neither the report nor the line has room
    pipe.read()
    pipe.padding = ""

    pipe.log("second")

    assert pipe.reported == [1, 2]  # the line of the fill and this one
    assert pipe.read().splitlines()[-2:] == ["dropped 2", "second"]
