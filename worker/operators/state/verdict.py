"""The verdict on a snapshot: what is wrong, since when, whether anything is lost, and what to do; pure."""

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from shared.events.rules import RuleAction
from shared.process.process_states import Role
from worker.operators.exit_codes import BAD_NEWS, OK, UNAVAILABLE
from worker.operators.state.advice import START_A_WORKER, advice_for, circuit_sentence
from worker.operators.state.asking import Unknown
from worker.operators.state.backlog import LATELY
from worker.operators.state.notes import notes
from worker.operators.state.processes import last_report, open_circuits, rates, running
from worker.operators.state.snapshot import Snapshot
from worker.operators.terminal.durations import moment, shown

LATE_AFTER: Final = timedelta(seconds=60)
"""An event that is pending for longer is late. The objective of deliveries in deploy/terraform/objectives.tf."""

SHOWN_UNACCOUNTED: Final = 3
"""Ids of unaccounted events in the problem's text; `account` shows more."""


class State(enum.StrEnum):
    WELL = "well"
    DELAYED = "delayed"
    """Events arrive late, or some workers have their circuit open."""

    STOPPED = "stopped"
    """Nothing is delivered: no worker runs, every circuit is open, or forwarding is paused."""

    FAILING = "failing"
    """Ingresses fail calls or events for a reason that is not the caller's."""

    UNACCOUNTED = "unaccounted"
    """An accepted event has no ledger row in a known state."""

    UNKNOWN = "unknown"
    """No problem was found, but an answer that decides is missing."""


_WORST_FIRST: Final = (State.UNACCOUNTED, State.FAILING, State.STOPPED, State.DELAYED)

_SENTENCES: Final = {
    State.WELL: "Well: accepted events are delivered.",
    State.DELAYED: "Delayed: some events are delivered late or not yet.",
    State.STOPPED: "Stopped: no event is delivered; accepted events wait.",
    State.FAILING: "Failing: some calls or events of callers fail.",
    State.UNACCOUNTED: "UNACCOUNTED: an accepted event has no valid ledger row.",
    State.UNKNOWN: "Not known: an answer is missing; `nest-events doctor` checks each dependency.",
}


@dataclass(frozen=True, slots=True)
class Problem:
    subject: str
    """`ledger`, `ingress`, `rules`, `worker`, `circuit` or `pending`."""

    state: State
    what: str
    to_do: str
    since: datetime | None = None
    """None where it is not known."""


@dataclass(frozen=True, slots=True)
class StatusVerdict:
    state: State
    sentence: str
    losing: str
    """Whether anything is lost, in a sentence."""

    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    """Worth knowing, but not a problem."""

    unknown: tuple[str, ...]
    """What is not known, and why."""

    @property
    def since(self) -> datetime | None:
        """When the first of the problems began, as far as that is known."""
        return min((each.since for each in self.problems if each.since is not None), default=None)

    @property
    def exit_code(self) -> int:
        """BAD_NEWS with a problem, UNAVAILABLE where an answer is missing, else OK."""
        if self.problems:
            return BAD_NEWS
        return UNAVAILABLE if self.unknown else OK


def judge(snapshot: Snapshot) -> StatusVerdict:
    """Total: every snapshot has a verdict, and every problem says what to do."""
    problems = (
        *_ledger_problems(snapshot),
        *_ingress_problems(snapshot),
        *_rule_problems(snapshot),
        *_worker_problems(snapshot),
        *_pending_problems(snapshot),
    )
    found = {each.state for each in problems}
    otherwise = State.UNKNOWN if _is_undecided(snapshot) else State.WELL
    state = next((each for each in _WORST_FIRST if each in found), otherwise)
    noted, unknown = tuple(notes(snapshot)), tuple(_unknown(snapshot))
    return StatusVerdict(state, _SENTENCES[state], _losing(snapshot), problems, noted, unknown)


def _is_undecided(snapshot: Snapshot) -> bool:
    """Whether an answer is missing that the verdict needs. It does not need how many are pending or dead."""
    return any(isinstance(answer, Unknown) for answer in (snapshot.processes, snapshot.oldest, snapshot.recent))


def _unknown(snapshot: Snapshot) -> Iterator[str]:
    """A text for each reason, with everything that is not known for that reason."""
    by_reason: dict[str, list[str]] = {}
    for subject, answer in (
        ("processes and rates", snapshot.processes),
        ("how many are pending", snapshot.pending),
        ("the oldest pending events", snapshot.oldest),
        ("dead events", snapshot.dead),
        ("whether anything is lost", snapshot.recent),
        ("operators' rules", snapshot.rules),
    ):
        if isinstance(answer, Unknown):
            by_reason.setdefault(answer.why, []).append(subject)
    for why, subjects in by_reason.items():
        yield f"{', '.join(subjects)}: {why}"


def _losing(snapshot: Snapshot) -> str:
    recent = snapshot.recent
    if isinstance(recent, Unknown):
        return "Whether anything is lost is not known."
    if recent.unaccounted:
        return f"{len(recent.unaccounted)} of {recent.looked_at} sampled events have no valid ledger row."
    if not recent.looked_at:
        return (
            f"No event was accepted for forwarding within the last {shown(LATELY)}; "
            "`nest-events account` looks further back."
        )
    sample = "the only event" if recent.looked_at == 1 else f"each of {recent.looked_at} events"
    return f"Nothing is lost: {sample} sampled from the last {shown(LATELY)} has its ledger row."


def _ledger_problems(snapshot: Snapshot) -> Iterator[Problem]:
    if isinstance(snapshot.recent, Unknown) or not snapshot.recent.unaccounted:
        return
    unaccounted = snapshot.recent.unaccounted
    ids = ", ".join(unaccounted[:SHOWN_UNACCOUNTED]) + (" and others" if len(unaccounted) > SHOWN_UNACCOUNTED else "")
    yield Problem(
        "ledger",
        State.UNACCOUNTED,
        f"{len(unaccounted)} of {snapshot.recent.looked_at} events sampled from the last {shown(LATELY)} have no valid "
        f"ledger row: {ids}",
        "run `nest-events account --since 2h`, then see deploy/RUNBOOK.md; suspect a manual change of the database, or "
        "a restore",
    )


def _ingress_problems(snapshot: Snapshot) -> Iterator[Problem]:
    if isinstance(snapshot.processes, Unknown):
        return
    ingresses = rates(snapshot.processes, Role.INGRESS)
    if ingresses is not None and ingresses.counted["failed"]:
        yield Problem(
            "ingress",
            State.FAILING,
            f"{ingresses.counted['failed']} events or calls failed within {ingresses.seconds:.0f} s, while "
            f"{ingresses.counted['accepted']} events were accepted",
            "run `nest-events doctor`: the cause is Spanner or the ingress, whose log has the reason of each failure",
        )


def _rule_problems(snapshot: Snapshot) -> Iterator[Problem]:
    for rule in snapshot.rules_of(RuleAction.PAUSE):
        yield Problem(
            "rules",
            State.STOPPED,
            f"{rule.created_by} has paused forwarding until {moment(rule.ends_at)}: {rule.why}",
            "run `nest-events resume` once events may be sent again",
            rule.created_at,
        )


def _worker_problems(snapshot: Snapshot) -> Iterator[Problem]:
    if isinstance(snapshot.processes, Unknown):
        return
    workers = running(snapshot.processes, Role.WORKER)
    if not workers:
        of_role = [each for each in snapshot.processes if each.state.role is Role.WORKER]
        since = max((snapshot.at - each.seen_ago for each in of_role), default=None)
        what = f"No worker runs: {last_report(snapshot.processes, Role.WORKER, snapshot.at)}"
        yield Problem("worker", State.STOPPED, what, START_A_WORKER, since)
        return
    circuits = open_circuits(snapshot.processes)
    state = State.STOPPED if sum(each.workers for each in circuits) == len(workers) else State.DELAYED
    for each in circuits:
        sentence = circuit_sentence(each, len(workers), snapshot.at)
        yield Problem("circuit", state, sentence, advice_for(each.reason), each.since)


def _pending_problems(snapshot: Snapshot) -> Iterator[Problem]:
    if isinstance(snapshot.oldest, Unknown):
        return
    since = snapshot.oldest.held_up_since(snapshot.held_by)
    if since is not None and snapshot.at - since > LATE_AFTER:
        what = f"An event has been pending since {moment(since)} ({shown(snapshot.at - since)})"
        yield Problem("pending", State.DELAYED, what, _advice_on_pending(snapshot), since)


def _advice_on_pending(snapshot: Snapshot) -> str:
    processes, oldest = snapshot.processes, snapshot.oldest
    if isinstance(processes, Unknown) or isinstance(oldest, Unknown):
        return "run `nest-events doctor`"
    workers = running(processes, Role.WORKER)
    if snapshot.rules_of(RuleAction.PAUSE):
        return "see above: events are sent once forwarding is resumed"
    if not workers or sum(each.workers for each in open_circuits(processes)) == len(workers):
        return "see above: events are sent once that is fixed"
    rate = rates(processes, Role.WORKER)
    if rate is not None and rate.per_second["delivered"] > 0:
        left = ""
        pending = snapshot.about_pending if isinstance(snapshot.pending, Unknown) else snapshot.pending
        if not isinstance(pending, Unknown):
            rest = timedelta(seconds=pending / rate.per_second["delivered"])
            left = f", at {rate.per_second['delivered']:.1f}/s for another {shown(rest)}"
        return f"wait: a backlog is being delivered{left}; if it grows, start more workers"
    if not any(each.is_in_flight or each.reason is not None for each in oldest.events):
        return (
            "no worker has tried any of the oldest events, so their messages are late or lost: run "
            "`nest-events reconcile --older-than 5m`"
        )
    return (
        "workers run but deliver nothing: look for pull_failed, claim_failed and batch_crashed in their log, and run "
        "`nest-events doctor`"
    )
