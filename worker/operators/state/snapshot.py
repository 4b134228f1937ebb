"""What goes on now: all that is asked for one screen, side by side, each answer or why there is none."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import anyio

from shared.process.process_states import SeenProcess
from shared.spanner.shards import BEGINNING
from worker.operators.connections import Connections
from worker.operators.state.asking import ANSWER_SECONDS, Unknown, asked
from worker.operators.state.backlog import Backlog, Dead, Oldest, Recent

SLOW: Final = Unknown(f"there is so much of it that Spanner takes longer than {ANSWER_SECONDS:g} s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    at: datetime
    """Spanner's time; this machine's where Spanner does not answer."""

    processes: list[SeenProcess] | Unknown
    pending: int | Unknown
    about_pending: int | Unknown
    """An estimate, for where they are too many to be counted in time."""

    oldest: Oldest | Unknown
    dead: tuple[Dead, ...] | Unknown
    recent: Recent | Unknown


async def look(connections: Connections) -> Snapshot:
    """Takes some seconds at the most, and never fails."""
    backlog = Backlog(connections.database, shards=connections.settings.forward_shards)
    processes: list[SeenProcess] | Unknown = Unknown("not asked")
    were_asked = anyio.Event()

    def from_the_watermark(question: Callable[..., Awaitable[Any]]) -> Callable[[], Awaitable[Any]]:
        async def ask() -> Any:
            await were_asked.wait()
            if isinstance(processes, Unknown) and processes.is_late:
                return processes  # nor would this be answered, and there is no time left to try
            return await question(begin=nothing_pending_before(processes))

        return ask

    questions: dict[str, Callable[[], Awaitable[Any]]] = {
        "at": backlog.now,
        "pending": from_the_watermark(backlog.pending),
        "about_pending": from_the_watermark(backlog.pending_by_estimate),
        "oldest": from_the_watermark(backlog.oldest),
        "dead": backlog.dead,
        "recent": backlog.recent,
    }
    answers: dict[str, Any] = {}

    async def ask(name: str, question: Callable[[], Awaitable[Any]]) -> None:
        answers[name] = await asked(question, connections.settings)

    async with anyio.create_task_group() as tasks:
        for name, question in questions.items():
            tasks.start_soon(ask, name, question)
        answers["processes"] = processes = await asked(connections.process_states.seen, connections.settings)
        were_asked.set()
    if isinstance(answers["at"], Unknown):
        return Snapshot(**answers | {"at": datetime.now(UTC)})
    # Spanner is there: what is late is so for its size.
    slow = {name: SLOW for name, answer in answers.items() if isinstance(answer, Unknown) and answer.is_late}
    return Snapshot(**answers | slow)


def nothing_pending_before(processes: list[SeenProcess] | Unknown) -> datetime:
    """The latest that any worker told: each is true for ever, since what becomes pending has a later time."""
    if isinstance(processes, Unknown):
        return BEGINNING
    told = [each.state.report.nothing_pending_before for each in processes]
    return max((at for at in told if at is not None), default=BEGINNING)
