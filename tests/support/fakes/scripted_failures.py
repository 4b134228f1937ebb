"""Failures that a test scripts for a fake, and the journal of its calls."""

from collections import defaultdict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum

import anyio
import anyio.lowlevel


class When(Enum):
    BEFORE = "before"
    """The call fails and does nothing."""

    AFTER = "after"
    """The call does what it should and then fails: the ambiguous case."""


@dataclass
class ScriptedFailures:
    """One for each fake; several may share a journal, which then has the order of all their calls."""

    journal: list[str] = field(default_factory=list)
    """The names of the calls, in order: of those that took effect and of those that failed before."""

    _scripts: defaultdict[str, deque[tuple[When, Exception]]] = field(default_factory=lambda: defaultdict(deque))
    _always: dict[str, tuple[When, Exception]] = field(default_factory=dict)
    _gates: dict[str, anyio.Event] = field(default_factory=dict)
    _waiting: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))

    def fail_next(self, call: str, error: Exception, *, times: int = 1, when: When = When.BEFORE) -> None:
        self._scripts[call].extend([(when, error)] * times)

    def fail_until_mended(self, call: str, error: Exception, *, when: When = When.BEFORE) -> None:
        self._always[call] = (when, error)

    def mend(self) -> None:
        """Clears the failures and releases held calls."""
        self._scripts.clear()
        self._always.clear()
        for gate in self._gates.values():
            gate.set()
        self._gates.clear()

    def hold(self, call: str) -> anyio.Event:
        """Makes calls wait, before they take effect, until the returned event is set."""
        if call not in self._gates or self._gates[call].is_set():
            self._gates[call] = anyio.Event()
        return self._gates[call]

    def waiting(self, call: str) -> int:
        """How many calls are held."""
        return self._waiting[call]

    def count(self, call: str) -> int:
        return self.journal.count(call)

    @asynccontextmanager
    async def around(self, call: str) -> AsyncIterator[None]:
        """Wraps each call of a fake. It always yields to other tasks, as a real call does."""
        await anyio.lowlevel.checkpoint()
        if gate := self._gates.get(call):
            self._waiting[call] += 1
            try:
                await gate.wait()
            finally:
                self._waiting[call] -= 1
        self.journal.append(call)
        when, error = self._scripts[call].popleft() if self._scripts[call] else self._always.get(call, (None, None))
        if error is not None and when is When.BEFORE:
            raise error
        yield
        if error is not None:
            raise error
