"""An open-loop client: sends at a fixed rate regardless of answers, and logs every attempt."""

import json
import random
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final, Self, TextIO

import anyio
from connectrpc.errors import ConnectError

from shared.gen.events.v1.event_logging_connect import EventLoggingServiceClient
from shared.gen.events.v1.event_logging_pb import LogEventRequest

OK: Final = "ok"
ABANDONED: Final = "abandoned"
"""The code of a call whose caller hung up."""

RETRIED_CODES: Final = frozenset({"unavailable", "deadline_exceeded", "resource_exhausted", "unknown", "internal"})
"""Codes that a caller retries under the same key; a refused connection is `unavailable` too."""

FIRST_PAUSE_SECONDS: Final = 0.1
LONGEST_PAUSE_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """A call and its answer: a line of the client's log. Times are Unix seconds."""

    key: str
    number: int
    """Counts the attempts on this key, from 1."""

    sent_at: float
    done_at: float
    deadline_seconds: float
    code: str
    event_id: str
    duplicate: bool
    answered: bool
    """Whether the service answered; False where there was no connection, or it broke."""

    is_stored_only: bool = False
    """Whether the answer warned that the event is not forwarded, since a rule says so."""

    @property
    def seconds(self) -> float:
        return self.done_at - self.sent_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """The events to send, and how."""

    events: int
    per_second: float
    tries: int = 1
    """The most attempts on a key."""

    deadline_seconds: Callable[[int], float] = lambda _: 5.0
    """The deadline of an attempt, by the event's number."""

    event_name: Callable[[int], str] = lambda _: "fault_lab"
    abandon_after: Callable[[random.Random], float] | None = None
    """Seconds after which the caller hangs up; None never does."""

    @property
    def seconds(self) -> float:
        """How long the first attempts take."""
        return self.events / self.per_second


@dataclass(slots=True)
class OpenLoopClient:
    """Sends loads to one ingress. Use it as an async context manager."""

    url: str
    log_path: Path
    seed: int
    attempts: list[Attempt] = field(default_factory=list)
    started: int = 0
    """Events whose first attempt has begun."""

    _random: random.Random = field(init=False)
    _log: TextIO = field(init=False)
    _client: EventLoggingServiceClient = field(init=False)

    async def __aenter__(self) -> Self:
        self._random = random.Random(self.seed)
        self._log = self.log_path.open("a")
        self._client = EventLoggingServiceClient(self.url, send_compression=None)
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._client.__aexit__(None, None, None)
        self._log.close()

    async def run(self, load: Load, *, prefix: str = "e") -> None:
        """Send the load, and return when every event has its last answer."""
        begin = time.monotonic()
        async with anyio.create_task_group() as calls:
            for number in range(load.events):
                ahead = begin + number / load.per_second - time.monotonic()
                if ahead > 0:
                    await anyio.sleep(ahead)
                self.started += 1
                calls.start_soon(self._log_event, load, number, key_of(self.seed, number, prefix=prefix))

    async def _log_event(self, load: Load, number: int, key: str) -> None:
        request = LogEventRequest(
            event_name=load.event_name(number), actor_id=key, idempotency_key=key, event_type="fault_lab"
        )
        for attempt in range(1, load.tries + 1):
            noted = await self.call(request, key=key, number=attempt, deadline=load.deadline_seconds(number), load=load)
            if noted.code not in RETRIED_CODES or attempt == load.tries:
                return
            bound = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0**attempt)
            await anyio.sleep(self._random.uniform(bound / 2, bound))

    def forget_failures(self, key: str) -> None:
        """Drop failed attempts on this key, which the fault provoked and checked itself."""
        self.attempts = [attempt for attempt in self.attempts if attempt.key != key or attempt.code == OK]

    async def call(
        self, request: LogEventRequest, *, key: str, number: int = 1, deadline: float = 5.0, load: Load | None = None
    ) -> Attempt:
        """Make one attempt; failures of service or network are no exceptions but its code."""
        sent_at = time.time()
        code, event_id, duplicate, answered, stored_only = ABANDONED, "", False, False, False
        hang_up = None if load is None or load.abandon_after is None else load.abandon_after(self._random)
        try:
            with anyio.move_on_after(hang_up) as patience:
                response = await self._client.log_event(request, timeout_ms=max(1, int(deadline * 1000)))
                code, event_id, duplicate, answered = OK, response.event_id, response.duplicate, True
                reasons = [warning["reason"] for warning in json.loads(response.to_json()).get("warnings", [])]
                stored_only = "stored_only" in reasons
        except ConnectError as error:
            # The client library turns a cancellation into its own error.
            code = ABANDONED if patience.cancel_called else error.code.value
            # Only the service adds details; the client's error for a broken connection has none.
            answered = bool(error.details) or code == "deadline_exceeded"
        attempt = Attempt(key, number, sent_at, time.time(), deadline, code, event_id, duplicate, answered, stored_only)
        self.attempts.append(attempt)
        self._log.write(json.dumps(asdict(attempt)) + "\n")
        return attempt


def key_of(seed: int, number: int, *, prefix: str = "e") -> str:
    """The idempotency key of a load's event."""
    return f"{prefix}-{seed}-{number}"


def read_attempts(path: Path) -> list[Attempt]:
    """The client's log."""
    return [Attempt(**json.loads(line)) for line in path.read_text().splitlines()]
