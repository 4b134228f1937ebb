"""The running system of a row, and what its fault can do to it."""

import json
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import anyio
import pyqwest
from google.pubsub_v1 import PubsubMessage

from deploy.local.errors import StartFailedError
from deploy.local.stack import Stack
from shared.events.rule_table import RuleTable
from shared.process.fault_points import EXIT_CODE
from tests.faults.client import OK, Load, OpenLoopClient
from tests.faults.evidence import (
    FoundDeadLetter,
    StoredEvent,
    dead_letters,
    pending_events,
    pending_names,
    process_log,
    stored_events,
)
from tests.faults.lasting import Poison
from tests.faults.links import Links
from tests.faults.measures import MemoryWatch
from tests.faults.messages import publish_to
from tests.faults.past_ingress import delete_row
from tests.faults.row import Row, StandInRule
from tests.support.wire.tcp_proxy import Mode

T = TypeVar("T")

POLL_SECONDS: Final = 0.02
POLL_SHARE: Final = 0.2
"""The share of the time that polling may take: reading a large ledger is work for the emulator too."""

PATIENCE_SECONDS: Final = 30.0

SENDING_SECONDS: Final = 600.0
"""The timeout for a load to be sent: longer than any takes."""

NO_FAULT_POINTS: Final = {"FAULT_POINTS": ""}


@dataclass(slots=True)
class Lab:
    """The interface of a fault. It reports to the checker through `require` and `incidents`."""

    row: Row
    stack: Stack
    client: OpenLoopClient
    load: Load
    links: Links
    database: Any
    rules: RuleTable
    memory: MemoryWatch
    random: random.Random
    scale: float = 1.0
    """Multiplies the fault's durations: below 1 in a quick look."""

    full: bool = False
    events: int = 0
    """Events of the run, including those that the fault sends."""

    incidents: int = 0
    """Kills and lost answers, which bound the duplicates."""

    breaches: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Measurements for the table."""

    found_dead_letters: dict[str, FoundDeadLetter] = field(default_factory=dict)
    fault_at: float = 0.0
    healed_at: float = 0.0

    def require(self, holds: bool, breach: str) -> None:
        if not holds:
            self.breaches.append(breach)

    def note(self, what: str) -> None:
        self.notes.append(what)

    def some(self, share: float) -> int:
        """This share of the run's events, one at least."""
        return max(1, int(share * self.events))

    def long(self, seconds: float, *, short: float) -> float:
        """The duration of a scenario's fault: `seconds` in a full run, otherwise `short`, scaled."""
        return seconds if self.full else short * self.scale

    def unless_quick(self, *values: T) -> tuple[T, ...]:
        """The values, or none in a quick look."""
        return values if self.scale >= 1 else ()

    async def hold(self, seconds: float) -> None:
        """Let the fault last for `seconds`, scaled."""
        await anyio.sleep(seconds * self.scale)

    async def until(self, holds: Callable[[], bool], what: str, seconds: float = PATIENCE_SECONDS) -> bool:
        """Wait until it holds. Returns False after `seconds`, and notes a breach."""

        async def asked() -> bool:
            return holds()

        return await self.until_true(asked, what, seconds)

    async def until_true(
        self, holds: Callable[[], Awaitable[bool]], what: str, seconds: float = PATIENCE_SECONDS
    ) -> bool:
        # Not move_on_after: grpc.aio replaces its cancellation by one that anyio does not recognize.
        asked_at = anyio.current_time()
        give_up_at = asked_at + seconds
        while not await holds():
            now = anyio.current_time()
            if now > give_up_at:
                self.breaches.append(f"did not come to pass within {seconds:g} s: {what}")
                return False
            await anyio.sleep(max(POLL_SECONDS, (now - asked_at) * (1 - POLL_SHARE) / POLL_SHARE))
            asked_at = anyio.current_time()
        return True

    async def until_sent(self, share: float) -> None:
        """Wait until this share of the load's events was sent."""
        await self.until(lambda: self.client.started >= share * self.load.events, f"{share:.0%} sent", SENDING_SECONDS)

    @asynccontextmanager
    async def broken(self, mode: Mode, *names: str, delay_seconds: float = 0.1) -> AsyncIterator[None]:
        """Switches the links whose names contain one of `names` to `mode`, and back at the end."""
        chosen = [link for name, link in self.links.items() for wanted in names if wanted in name]
        for link in chosen:
            await link.switch(mode, delay_seconds=delay_seconds)
        try:
            yield
        finally:
            for link in chosen:
                await link.switch(Mode.PASS)
            if mode is Mode.DROP_RESPONSE:
                self.require(any(link.counts.swallowed for link in chosen), "no answer was dropped: no fault")

    async def heal(self) -> None:
        for link in self.links.values():
            await link.switch(Mode.PASS)
        await self.statsig()
        for process in self.stack.processes.values():
            if process.returncode is None:
                process.send_signal(signal.SIGCONT)

    async def statsig(
        self, *behaviours: Mapping[str, Any], times: int | None = None, probability: float | None = None
    ) -> None:
        """Set the stand-in's behaviours, in this order; without any it accepts all that the row does not poison."""
        more: dict[str, Any] = {} if times is None else {"times": times}
        if probability is not None:
            more |= {"probability": probability, "seed": self.client.seed}
        await self.statsig_rules(*({"behaviour": behaviour, **more} for behaviour in behaviours))

    async def statsig_rules(self, *rules: StandInRule) -> None:
        """Replace the stand-in's rules by the row's lasting ones and these, in this order."""
        wanted = [dict(rule) for rule in (*self.row.lasting(self.client.seed), *rules)]
        response = await pyqwest.Client().put(f"{self.stack.statsig_url}/control", content=json.dumps(wanted).encode())
        assert response.status == 200, response.content

    async def statsig_stats(self) -> dict[str, Any]:
        response = await pyqwest.Client().get(f"{self.stack.statsig_url}/stats")
        stats: dict[str, Any] = json.loads(response.content)
        return stats

    async def requests(self) -> int:
        """How many requests the stand-in has begun to read."""
        return int((await self.statsig_stats())["requests"])

    async def settled(self) -> bool:
        """Whether no event is pending, except poisoned ones that may be."""
        expect = self.row.expect.poisoned
        if expect is not None and expect.may_stay_pending:
            return await self.others_settled()
        return await self.pending() == 0

    async def others_settled(self) -> bool:
        """Whether only poisoned events are pending."""
        names = await pending_names(self.database)
        return not names.keys() - Poison.of(self.row, self.client.seed).among(names)

    async def poisoned_settled(self) -> bool:
        """Whether no poisoned event is pending."""
        return not Poison.of(self.row, self.client.seed).among(await pending_names(self.database))

    async def pending(self) -> int:
        return await pending_events(self.database)

    async def dead_letters(self) -> list[FoundDeadLetter]:
        """All dead letters so far. They can be read only once, so they are kept for the checker."""
        self.found_dead_letters |= await dead_letters(self.stack, self.database)
        return list(self.found_dead_letters.values())

    async def forget_row(self, event_id: str) -> None:
        """Delete a row that the fault made itself, with its ledger row."""
        await delete_row(self.database, event_id)

    async def stored(self) -> dict[str, StoredEvent]:
        return await stored_events(self.database)

    def logged(self, name: str, message: str) -> list[dict[str, Any]]:
        return [line for line in process_log(self.stack, name) if line.get("message") == message]

    def worker_names(self) -> list[str]:
        return [name for name in self.stack.processes if name.startswith("worker-")]

    def answered_ids(self) -> list[str]:
        return [attempt.event_id for attempt in self.client.attempts if attempt.code == OK]

    async def kill(self, name: str) -> None:
        process = self.stack.processes[name]
        process.send_signal(signal.SIGKILL)
        await process.wait()
        self.incidents += 1

    async def until_ended(self, name: str, seconds: float = PATIENCE_SECONDS) -> int | None:
        """Wait until it ended by a fault point or a signal, and return its exit code. Counts an incident."""
        code: int | None = None
        with anyio.move_on_after(seconds):
            code = await self.stack.processes[name].wait()
        if code is None:
            self.breaches.append(f"{name} did not end within {seconds:g} s")
            await self.kill(name)
        self.incidents += 1
        return code

    async def restart(self, name: str, settings: Mapping[str, str] = NO_FAULT_POINTS) -> None:
        try:
            await self.stack.start_again(name, settings)
        except StartFailedError:
            # Under load a fault point may be hit before the process was seen to be ready.
            if not settings.get("FAULT_POINTS") or self.stack.processes[name].returncode != EXIT_CODE:
                raise

    async def publish(self, messages: Iterable[PubsubMessage]) -> None:
        """Publish to the forward topic, past every proxy."""
        await publish_to(self.stack, self.stack.names.forward_topic, list(messages))
