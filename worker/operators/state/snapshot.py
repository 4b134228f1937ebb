"""A snapshot of the service: every question of one screen, asked side by side, with its answer or why there is none."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import anyio

from shared.events.rules import Match, Rule, RuleAction
from shared.process.process_states import SeenProcess
from shared.spanner.shards import BEGINNING
from worker.operators.connections import Connections
from worker.operators.state.asking import ANSWER_SECONDS, Unknown, answer_or_unknown
from worker.operators.state.backlog import Backlog, DeadGroup, Recent
from worker.operators.state.pending import Oldest

PROMPT_SECONDS: Final = 1.0
"""Reading the processes, a handful of rows by key, takes a tenth of it. Questions that wait for them lose that much."""

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


async def take_snapshot(connections: Connections) -> Snapshot:
    """Ask everything. Takes at most about six seconds; what gets no answer is Unknown.

    Long because the questions share what the processes answer.
    """

    async def active_rules() -> tuple[Rule, ...]:
        read = await connections.rules.read()
        return tuple(sorted((r for r in read.rules if r.is_active(read.at)), key=lambda rule: rule.created_at))

    backlog = Backlog(connections.database, shards=connections.settings.forward_shards)
    processes: list[SeenProcess] | Unknown = Unknown("not asked")
    were_asked = anyio.Event()

    def from_the_watermark(question: Callable[..., Awaitable[Any]]) -> Callable[[], Awaitable[Any]]:
        async def ask() -> Any:
            await were_asked.wait()
            if isinstance(processes, Unknown) and processes.is_late:
                return processes  # no time is left for another question, which Spanner would not answer either
            return await question(begin=nothing_pending_before(processes))

        return ask

    questions: dict[str, Callable[[], Awaitable[Any]]] = {
        "at": backlog.now,
        "pending": from_the_watermark(backlog.pending),
        "about_pending": from_the_watermark(backlog.pending_by_estimate),
        "oldest": from_the_watermark(backlog.oldest),
        "dead": backlog.dead,
        "recent": backlog.recent,
        "rules": active_rules,
    }
    answers: dict[str, Any] = {}

    async def ask(name: str, question: Callable[[], Awaitable[Any]]) -> None:
        answers[name] = await answer_or_unknown(question, connections.settings)

    async with anyio.create_task_group() as tasks:
        for name, question in questions.items():
            tasks.start_soon(ask, name, question)
        began = anyio.current_time()
        processes = await answer_or_unknown(connections.process_states.seen, connections.settings)
        answers["processes"] = processes
        is_prompt = anyio.current_time() - began < PROMPT_SECONDS
        were_asked.set()
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
