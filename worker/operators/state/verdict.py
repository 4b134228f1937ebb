"""The verdict on a situation: in words, with what is wrong, since when, and what to do; pure."""

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from shared.process.process_states import Role
from worker.operators.exit_codes import BAD_NEWS, OK, UNAVAILABLE
from worker.operators.state.advice import TO_START, advice_for, circuit_sentence
from worker.operators.state.asking import Unknown
from worker.operators.state.backlog import LAST_HOUR, LATELY
from worker.operators.state.processes import last_of, open_circuits, rates, running
from worker.operators.state.snapshot import Snapshot
from worker.operators.terminal.durations import moment, shown

LATE_AFTER: Final = timedelta(seconds=60)
"""The objective of deliveries: an event that is pending for longer is late (deploy/terraform/objectives.tf)."""


class State(enum.StrEnum):
    WELL = "well"
    DELAYED = "delayed"
    """Some events arrive late, or some workers send nothing."""

    STOPPED = "stopped"
    """Nothing is delivered."""

    FAILING = "failing"
    """Callers' events are not taken."""

    UNACCOUNTED = "unaccounted"
    """An accepted event is not in the ledger."""

    UNKNOWN = "unknown"
    """Nothing bad was seen, and not everything that decides could be."""


_WORST_FIRST: Final = (State.UNACCOUNTED, State.FAILING, State.STOPPED, State.DELAYED)

_SENTENCES: Final = {
    State.WELL: "Well: what is accepted is delivered.",
    State.DELAYED: "Delayed: events are accepted, and some are delivered late or not yet.",
    State.STOPPED: "Stopped: nothing is delivered; what is accepted waits.",
    State.FAILING: "Failing: not all that callers send is taken.",
    State.UNACCOUNTED: "UNACCOUNTED: an accepted event is in no known state.",
    State.UNKNOWN: "Not known: what decides could not be asked; `nest-events doctor` looks at each dependency.",
}


@dataclass(frozen=True, slots=True)
class Problem:
    subject: str
    """Of what: ledger, ingress, worker, circuit or pending."""

    state: State
    what: str
    to_do: str
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class StatusVerdict:
    state: State
    sentence: str
    losing: str
    """Whether anything is lost, in a sentence."""

    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    """What somebody should know, and is no reason to wake anybody."""

    unknown: tuple[str, ...]
    """What could not be asked, with why."""

    @property
    def since(self) -> datetime | None:
        """Of the problem that began first, as far as it is known."""
        return min((each.since for each in self.problems if each.since is not None), default=None)

    @property
    def exit_code(self) -> int:
        if self.problems:
            return BAD_NEWS
        return UNAVAILABLE if self.unknown else OK


def judged(seen: Snapshot) -> StatusVerdict:
    problems = (*_of_the_log(seen), *_of_ingresses(seen), *_of_workers(seen), *_of_what_waits(seen))
    unknown = tuple(_unknown(seen))
    found = {each.state for each in problems}
    state = next((each for each in _WORST_FIRST if each in found), State.UNKNOWN if _is_undecided(seen) else State.WELL)
    return StatusVerdict(state, _SENTENCES[state], _losing(seen), problems, tuple(_notes(seen)), unknown)


def _is_undecided(seen: Snapshot) -> bool:
    """How many are pending or dead decides nothing."""
    return any(isinstance(answer, Unknown) for answer in (seen.processes, seen.oldest, seen.recent))


def _unknown(seen: Snapshot) -> Iterator[str]:
    """A sentence for each reason, with all that it keeps from being known."""
    whats: dict[str, list[str]] = {}
    for what, answer in (
        ("processes and rates", seen.processes),
        ("how many are pending", seen.pending),
        ("the oldest pending events", seen.oldest),
        ("dead events", seen.dead),
        ("whether anything is lost", seen.recent),
    ):
        if isinstance(answer, Unknown):
            whats.setdefault(answer.why, []).append(what)
    for why, subjects in whats.items():
        yield f"{', '.join(subjects)}: {why}"


def _losing(seen: Snapshot) -> str:
    recent = seen.recent
    if isinstance(recent, Unknown):
        return "Whether anything is lost is not known."
    if recent.unaccounted:
        return f"{len(recent.unaccounted)} of {recent.looked_at} events accepted lately are not in the ledger."
    if not recent.looked_at:
        return f"Nothing was accepted for forwarding within {shown(LATELY)}; `nest-events account` looks further back."
    each = "the event" if recent.looked_at == 1 else f"each of {recent.looked_at} events"
    return f"Nothing is lost: {each} accepted within {shown(LATELY)} and looked at has its ledger row."


def _of_the_log(seen: Snapshot) -> Iterator[Problem]:
    if isinstance(seen.recent, Unknown) or not seen.recent.unaccounted:
        return
    some = ", ".join(seen.recent.unaccounted[:3])
    yield Problem(
        "ledger",
        State.UNACCOUNTED,
        f"{len(seen.recent.unaccounted)} of {seen.recent.looked_at} events accepted within {shown(LATELY)} have no "
        f"ledger row: {some}{' and others' if len(seen.recent.unaccounted) > 3 else ''}",  # noqa: PLR2004 - as above
        "see `nest-events account --since 2h`, then deploy/RUNBOOK.md: suspect a hand in the database, or a restore",
    )


def _of_ingresses(seen: Snapshot) -> Iterator[Problem]:
    if isinstance(seen.processes, Unknown):
        return
    told = rates(seen.processes, Role.INGRESS)
    if told is not None and told.counted["failed"]:
        yield Problem(
            "ingress",
            State.FAILING,
            f"{told.counted['failed']} events or calls failed within {told.seconds:.0f} s, {told.counted['accepted']} "
            "events were accepted: callers are told to try again",
            "see `nest-events doctor`: it is Spanner, or the ingress; the ingress's log has each reason",
        )


def _of_workers(seen: Snapshot) -> Iterator[Problem]:
    if isinstance(seen.processes, Unknown):
        return
    workers = running(seen.processes, Role.WORKER)
    if not workers:
        of_role = [each for each in seen.processes if each.state.role is Role.WORKER]
        since = max((seen.at - each.seen_ago for each in of_role), default=None)
        what = f"No worker runs: {last_of(seen.processes, Role.WORKER, seen.at)}"
        yield Problem("worker", State.STOPPED, what, TO_START, since)
        return
    circuits = open_circuits(seen.processes)
    state = State.STOPPED if sum(each.workers for each in circuits) == len(workers) else State.DELAYED
    for each in circuits:
        sentence = circuit_sentence(each, len(workers), seen.at)
        yield Problem("circuit", state, sentence, advice_for(each.reason), each.since)


def _of_what_waits(seen: Snapshot) -> Iterator[Problem]:
    if isinstance(seen.oldest, Unknown):
        return
    since = seen.oldest.held_up_since
    if since is not None and seen.at - since > LATE_AFTER:
        what = f"The oldest pending event waits since {moment(since)} ({shown(seen.at - since)})"
        yield Problem("pending", State.DELAYED, what, _about_waiting(seen), since)


def _about_waiting(seen: Snapshot) -> str:
    processes, oldest = seen.processes, seen.oldest
    if isinstance(processes, Unknown) or isinstance(oldest, Unknown):
        return "see `nest-events doctor`"
    workers = running(processes, Role.WORKER)
    if not workers or sum(each.workers for each in open_circuits(processes)) == len(workers):
        return "as above: it is sent when that is mended"
    told = rates(processes, Role.WORKER)
    if told is not None and told.per_second["delivered"] > 0:
        left = ""
        pending = seen.about_pending if isinstance(seen.pending, Unknown) else seen.pending
        if not isinstance(pending, Unknown):
            rest = timedelta(seconds=pending / told.per_second["delivered"])
            left = f": at {told.per_second['delivered']:.1f}/s what is pending takes {shown(rest)}"
        return f"a backlog is being delivered{left}; where it grows, start more workers"
    if not any(each.is_in_work or each.reason is not None for each in oldest.events):
        return "no worker has tried any of it: messages are late or lost; `nest-events reconcile --older-than 5m`"
    return "workers run and deliver nothing: see their log (pull_failed, claim_failed, batch_crashed) and `doctor`"


def _notes(seen: Snapshot) -> Iterator[str]:
    if not isinstance(seen.dead, Unknown):
        lately = sum(each.within_the_hour for each in seen.dead)
        if lately:
            yield (
                f"{lately} {'event was' if lately == 1 else 'events were'} given up within {shown(LAST_HOUR)}: "
                "`nest-events dead-letters list`"
            )
    if not isinstance(seen.oldest, Unknown):
        aside = sum(each.is_aside for each in seen.oldest.events)
        if aside:
            events = "event is" if aside == 1 else "events are"
            yield f"{aside} pending {events} set aside after failing alone, to be tried again"
    if not isinstance(seen.processes, Unknown) and not running(seen.processes, Role.INGRESS):
        yield f"No ingress runs: {last_of(seen.processes, Role.INGRESS, seen.at)}; with no caller none need"
