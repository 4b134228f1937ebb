"""A snapshot of the service: every question of one screen, asked side by side, with its answer or why there is none."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, TypeVar

import anyio

from shared.events.rules import Match, Rule, RuleAction
from shared.process.process_states import SeenProcess
from shared.spanner.shards import BEGINNING
from worker.operators.connections import Connections
from worker.operators.state.asking import ANSWER_SECONDS, Unknown, answer_or_unknown
from worker.operators.state.backlog import Backlog, DeadGroup, Recent
from worker.operators.state.pending import Oldest

T = TypeVar("T")

PROMPT_SECONDS: Final = 1.0
"""Reading the processes, a handful of rows by key, takes a tenth of it, reading the oldest pending events half of it.
Questions that wait for either lose that much."""

TOO_MANY: Final = Unknown(f"too many for an answer within {ANSWER_SECONDS:g} s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    at: datetime
    """Spanner's time; this machine's where Spanner does not answer."""

    processes: list[SeenProcess] | Unknown
    pending: int | Unknown
    about_pending: int | Unknown
    """An estimate, for when there are too many to count in time."""

    oldest: Oldest | Unknown
    dead: tuple[DeadGroup, ...] | Unknown
    recent: Recent | Unknown
    rules: tuple[Rule, ...] | Unknown
    """The operators' rules that are active, the oldest first."""

    def rules_of(self, action: RuleAction) -> list[Rule]:
        """Those with this action; none where they are not known."""
        return [] if isinstance(self.rules, Unknown) else [rule for rule in self.rules if rule.action is action]

    @property
    def held_by(self) -> list[Match]:
        """What rules hold."""
        return [rule.match for rule in self.rules_of(RuleAction.HOLD)]


class _Questions:
    """The questions of one snapshot. Some wait for the answers to others, which may save them a query."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._backlog = Backlog(connections.database, shards=connections.settings.forward_shards)
        self.processes: list[SeenProcess] | Unknown = Unknown("not asked")
        self.processes_were_asked = anyio.Event()
        self._oldest: Oldest | Unknown = Unknown("not asked")
        self._oldest_were_asked = anyio.Event()

    def by_field(self) -> dict[str, Callable[[], Awaitable[Any]]]:
        """Of the snapshot's fields, but for its processes."""
        return {
            "at": self._backlog.now,
            "pending": partial(self._count, self._backlog.pending),
            "about_pending": partial(self._count, self._backlog.pending_by_estimate),
            "oldest": self._ask_for_oldest,
            "dead": self._backlog.dead,
            "recent": self._backlog.recent,
            "rules": self._active_rules,
        }

    async def _active_rules(self) -> tuple[Rule, ...]:
        read = await self._connections.rules.read()
        return tuple(sorted((r for r in read.rules if r.is_active(read.at)), key=lambda rule: rule.created_at))

    async def _ask_for_oldest(self) -> Oldest | Unknown:
        try:
            self._oldest = await self._from_the_watermark(self._backlog.oldest)
        finally:
            self._oldest_were_asked.set()
        return self._oldest

    async def _count(self, question: Callable[..., Awaitable[int]]) -> int | Unknown:
        """A count of pending events. It takes no query where the oldest are all of them."""
        with anyio.move_on_after(PROMPT_SECONDS):
            await self._oldest_were_asked.wait()
        if isinstance(self._oldest, Oldest) and self._oldest.are_all:
            return len(self._oldest.events)
        return await self._from_the_watermark(question)

    async def _from_the_watermark(self, question: Callable[..., Awaitable[T]]) -> T | Unknown:
        await self.processes_were_asked.wait()
        if isinstance(self.processes, Unknown) and self.processes.is_late:
            return self.processes  # no time is left for another question, which Spanner would not answer either
        return await question(begin=nothing_pending_before(self.processes))


async def take_snapshot(connections: Connections) -> Snapshot:
    """Ask everything. Takes at most about six seconds; what gets no answer is Unknown."""
    questions = _Questions(connections)
    answers: dict[str, Any] = {}

    async def ask(name: str, question: Callable[[], Awaitable[Any]]) -> None:
        answers[name] = await answer_or_unknown(question, connections.settings)

    async with anyio.create_task_group() as tasks:
        for name, question in questions.by_field().items():
            tasks.start_soon(ask, name, question)
        began = anyio.current_time()
        questions.processes = await answer_or_unknown(connections.process_states.seen, connections.settings)
        answers["processes"] = questions.processes
        is_prompt = anyio.current_time() - began < PROMPT_SECONDS
        questions.processes_were_asked.set()
    if isinstance(answers["at"], Unknown):
        return Snapshot(**answers | {"at": datetime.now(UTC)})
    late = {name for name, answer in answers.items() if isinstance(answer, Unknown) and answer.is_late}
    # Spanner answers, and promptly, so another answer that is late has too much to read.
    too_many = dict.fromkeys(late, TOO_MANY) if is_prompt else {}
    return Snapshot(**answers | too_many)


def nothing_pending_before(processes: list[SeenProcess] | Unknown) -> datetime:
    """The latest time that any worker reported; BEGINNING where none did.

    Every such time stays true: an event that becomes pending gets a later one.
    """
    if isinstance(processes, Unknown):
        return BEGINNING
    reported = [each.state.report.nothing_pending_before for each in processes]
    return max((at for at in reported if at is not None), default=BEGINNING)
