"""`nest-events status`: the verdict, and the rates, counts and processes that it rests on."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, Final

from shared.events.rules import Rule
from shared.process.process_states import Role
from worker.operators.connections import Connections
from worker.operators.state.asking import Unknown
from worker.operators.state.pending import Oldest
from worker.operators.state.processes import GONE_AFTER, open_circuits, process_as_dict, process_lines, rates, running
from worker.operators.state.snapshot import Snapshot, take_snapshot
from worker.operators.state.verdict import StatusVerdict, judge
from worker.operators.terminal.durations import moment, shown
from worker.operators.terminal.layout import beside, shortened, wrapped
from worker.operators.terminal.output import bar, say, show_json, width

SHOWN: Final = 8
"""Names, callers and reasons listed one by one; the rest is summed up, and `--json` has all."""

NOT_KNOWN: Final = "not known: see above"
"""The reason stands among the verdict's notes."""

_WORDS: Final = {"dead_lettered": "dead-lettered", "failed_requests": "failed requests"}

_NAMES: Final = {Role.INGRESS: ("ingress", "ingresses"), Role.WORKER: ("worker", "workers")}


async def show_status(connections: Connections, *, as_json: bool) -> int:
    """Print one snapshot; the exit code is the verdict's."""
    snapshot = await take_snapshot(connections)
    verdict = judge(snapshot)
    if as_json:
        show_json(as_dict(snapshot, verdict))
    else:
        for line in lines(snapshot, verdict, width()):
            say(line)
    return verdict.exit_code


def as_dict(snapshot: Snapshot, verdict: StatusVerdict) -> dict[str, Any]:
    """The snapshot and its verdict as a document. What is not known is null, and `unknown` says why."""
    processes = None if isinstance(snapshot.processes, Unknown) else snapshot.processes
    oldest = None if isinstance(snapshot.oldest, Unknown) else snapshot.oldest
    dead = None if isinstance(snapshot.dead, Unknown) else snapshot.dead
    recent = None if isinstance(snapshot.recent, Unknown) else snapshot.recent
    return {
        "at": snapshot.at,
        "verdict": verdict.state.value,
        "since": verdict.since,
        "sentence": verdict.sentence,
        "losing": verdict.losing,
        "problems": [asdict(each) for each in verdict.problems],
        "notes": verdict.notes,
        "unknown": verdict.unknown,
        "rates": None if processes is None else {role.value: _rates_as_dict(processes, role) for role in Role},
        "rules": None if isinstance(snapshot.rules, Unknown) else [_rule_as_dict(rule) for rule in snapshot.rules],
        "pending": None if isinstance(snapshot.pending, Unknown) else snapshot.pending,
        "about_pending": None if isinstance(snapshot.about_pending, Unknown) else snapshot.about_pending,
        "oldest": None if oldest is None else _oldest_as_dict(oldest),
        "dead": None if dead is None else [asdict(each) for each in dead],
        "accepted_lately": None if recent is None else asdict(recent),
        "open_circuits": None if processes is None else [asdict(each) for each in open_circuits(processes)],
        "processes": None
        if processes is None
        else [process_as_dict(each) for role in Role for each in running(processes, role)],
    }


def _rates_as_dict(processes: Sequence[Any], role: Role) -> dict[str, Any] | None:
    rate = rates(processes, role)
    return None if rate is None else {"processes": rate.processes, "seconds": rate.seconds, **rate.per_second}


def _oldest_as_dict(oldest: Oldest) -> dict[str, Any]:
    return {
        "events": len(oldest.events),
        "are_all_pending": oldest.are_all,
        "pending_since": oldest.since,
        "set_aside": sum(each.is_set_aside for each in oldest.events),
        "in_work": sum(each.is_in_flight for each in oldest.events),
        "by_reason": dict(oldest.by_reason().most_common()),
        "by_name": dict(oldest.by_name().most_common()),
        "by_caller": dict(oldest.by_caller().most_common()),
    }


def lines(snapshot: Snapshot, verdict: StatusVerdict, columns: int) -> Iterator[str]:
    """The screen, wrapped to so many columns, with the verdict and its problems first."""
    yield from wrapped(verdict.sentence, columns)
    if verdict.problems and verdict.since is not None:
        yield f"Since {moment(verdict.since)}, for {shown(snapshot.at - verdict.since)}."
    yield from wrapped(verdict.losing, columns)
    for problem in verdict.problems:
        yield ""
        yield from wrapped(f"! {problem.what}.", columns, indent="  ")
        yield from wrapped(f"  To do: {problem.to_do}.", columns, indent="  ")
    for text in [*verdict.notes, *(f"Not known: {each}" for each in verdict.unknown)]:
        yield ""
        yield from wrapped(f"- {text}.", columns, indent="  ")
    yield ""
    for line in _rate_lines(snapshot):
        yield from wrapped(line, columns, indent=" " * 13)
    yield ""
    yield from _pending_lines(snapshot, columns)
    yield ""
    yield from _dead_lines(snapshot)
    yield ""
    if isinstance(snapshot.processes, Unknown):
        yield f"Processes    {NOT_KNOWN}"
    else:
        yield f"Processes    that reported within the last {shown(GONE_AFTER)}"
        for line in process_lines(snapshot.processes, snapshot.at):
            yield from wrapped(f"  {line}", columns, indent="    ")


def _rule_as_dict(rule: Rule) -> dict[str, Any]:
    return {"rule_id": rule.rule_id, "action": rule.action.value, "events_with": str(rule.match), "why": rule.why,
            "since": rule.created_at, "until": rule.expires_at}  # fmt: skip


def _rate_lines(snapshot: Snapshot) -> Iterator[str]:
    if isinstance(snapshot.processes, Unknown):
        yield f"Rates        {NOT_KNOWN}"
        return
    for role in (Role.INGRESS, Role.WORKER):
        one, many = _NAMES[role]
        rate = rates(snapshot.processes, role)
        count = len(running(snapshot.processes, role))
        if rate is None:
            why = f"no {one} runs" if not count else f"{count} {one if count == 1 else many} started just now"
            yield f"{many.capitalize():<12} {why}"
            continue
        texts = [f"{_WORDS.get(name, name)} {value:.1f}/s" for name, value in rate.per_second.items()]
        over = f"over {rate.seconds:.0f} s, from {rate.processes} of {count}"
        yield f"{many.capitalize():<12} {', '.join(texts)}   {over}"


def _pending_lines(snapshot: Snapshot, columns: int) -> Iterator[str]:
    oldest = snapshot.oldest
    since = None if isinstance(oldest, Unknown) else oldest.since
    age = "" if since is None else f", the oldest since {moment(since)} ({shown(snapshot.at - since)})"
    yield f"Pending      {_pending_count(snapshot)}{age}"
    if isinstance(oldest, Unknown):
        yield f"  the oldest: {NOT_KNOWN}"
        return
    if not oldest.events:
        return
    which = "of all of them" if oldest.are_all else f"of the {len(oldest.events)} oldest"
    set_aside = sum(each.is_set_aside for each in oldest.events)
    in_flight = sum(each.is_in_flight for each in oldest.events)
    yield f"  {which}: {in_flight} in flight, {set_aside} set aside after failing alone"
    blocks = [
        list(_counts(title, counts))
        for title, counts in (
            ("by last attempt", oldest.by_reason()),
            ("by event name", oldest.by_name()),
            ("by caller", oldest.by_caller()),
        )
    ]
    for line in beside(blocks, columns - 2):
        yield f"  {line}"


def _pending_count(snapshot: Snapshot) -> str:
    if not isinstance(snapshot.pending, Unknown):
        return str(snapshot.pending)
    if isinstance(snapshot.about_pending, Unknown):
        return NOT_KNOWN
    return f"about {snapshot.about_pending} (estimated from one shard)"


def _counts(title: str, counts: Counter[str]) -> Iterator[str]:
    yield title
    for name, count in counts.most_common(SHOWN):
        yield f"{count:>7} {shortened(name, 32)}"
    if len(counts) > SHOWN:
        rest = sum(count for _, count in counts.most_common()[SHOWN:])
        yield f"{rest:>7} in {len(counts) - SHOWN} more"


def _dead_lines(snapshot: Snapshot) -> Iterator[str]:
    if isinstance(snapshot.dead, Unknown):
        yield f"Dead         {NOT_KNOWN}"
        return
    yield f"Dead         {sum(each.events for each in snapshot.dead)}"
    largest = max((each.events for each in snapshot.dead), default=0)
    for each in snapshot.dead[:SHOWN]:
        ago = f"last {shown(snapshot.at - each.last_at)} ago"
        yield f"{each.events:>9} {shortened(each.reason, 24):<24} {ago:<16} {bar(each.events, largest, 20)}".rstrip()
    if len(snapshot.dead) > SHOWN:
        rest = sum(each.events for each in snapshot.dead[SHOWN:])
        yield f"{rest:>9} with {len(snapshot.dead) - SHOWN} more reasons"
