"""The polite caller: makes one call after the other with pauses, and measures each."""

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

import anyio

from tests.bench.bodies import usual_event
from tests.bench.fairness.callers import POLITE
from tests.bench.percentiles import percentile
from tests.support.wire.http1 import Connection, request

PAUSE_SECONDS: Final = 0.02

_OK: Final = 200


@dataclass(slots=True)
class Answers:
    seconds: list[float] = field(default_factory=list)
    """Latency of each call, also of failed ones."""

    failed: Counter[str] = field(default_factory=Counter)
    """Counts of failures, by status or by what happened to the connection."""

    def percentile_ms(self, percent: float) -> float:
        return 1000 * percentile(sorted(self.seconds), percent) if self.seconds else float("nan")


async def call_politely(port: int, seconds: float) -> Answers:
    """Calls for `seconds`, or somewhat longer: the last call is waited for."""
    answers = Answers()
    content = request(usual_event(), POLITE)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            await _on_one_connection(port, content, end, answers)
        except (OSError, EOFError, TimeoutError) as error:
            answers.failed[type(error).__name__] += 1
            await anyio.sleep(PAUSE_SECONDS)
    return answers


async def _on_one_connection(port: int, content: bytes, end: float, answers: Answers) -> None:
    connection = await Connection.open(port)
    try:
        while time.monotonic() < end:
            began = time.perf_counter()
            try:
                await connection.send(content)
                answer = await connection.answer()
            finally:
                answers.seconds.append(time.perf_counter() - began)
            if answer.status != _OK:
                answers.failed[str(answer.status)] += 1
            await anyio.sleep(PAUSE_SECONDS)
    finally:
        await connection.close()
