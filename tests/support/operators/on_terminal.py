"""Runs `nest-events` on a terminal, as an operator sees it."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio

from tests.support.operators.nest_events import COMMAND, SECONDS, inherited

ROWS, COLUMNS = 60, 100

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass
class Terminal:
    process: "subprocess.Popen[bytes]"
    descriptor: int
    written: bytearray = field(default_factory=bytearray)

    @property
    def text(self) -> str:
        """The output since `forget`, without the sequences that move the cursor."""
        return _ESCAPES.sub("", self.written.decode(errors="replace"))

    def forget(self) -> None:
        self.written.clear()

    async def read_until(self, text: str) -> None:
        with anyio.fail_after(SECONDS):
            while text not in self.text:
                assert await self._read(), f"it ended before it showed {text!r}"

    async def read_to_the_end(self) -> None:
        with anyio.fail_after(SECONDS):
            while await self._read():
                pass

    async def _read(self) -> bool:
        await anyio.wait_readable(self.descriptor)
        try:
            found = os.read(self.descriptor, 65_536)
        except OSError:  # Linux: the other end of the terminal is closed
            return False
        self.written += found
        return bool(found)


@asynccontextmanager
async def on_terminal(environment: Mapping[str, str], *arguments: str) -> AsyncIterator[Terminal]:
    terminal = _start(environment, arguments)
    try:
        yield terminal
    finally:
        terminal.process.kill()
        terminal.process.wait()
        os.close(terminal.descriptor)


def _start(environment: Mapping[str, str], arguments: tuple[str, ...]) -> Terminal:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    variables = inherited({**environment, "TERM": "xterm-256color"})
    process = subprocess.Popen([*COMMAND, *arguments], env=variables, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    return Terminal(process, ours)
