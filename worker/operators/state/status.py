"""`nest-events status`: a verdict on what goes on now, and what it is made of."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, Final

from shared.process.process_states import Role
from worker.operators.connections import Connections
from worker.operators.state.asking import Unknown
from worker.operators.state.backlog import Oldest
from worker.operators.state.processes import GONE_AFTER, open_circuits, process_as_dict, process_lines, rates, running
from worker.operators.state.snapshot import Snapshot, look
from worker.operators.state.verdict import StatusVerdict, judged
from worker.operators.terminal.durations import moment, shown
from worker.operators.terminal.layout import beside, shortened, wrapped
from worker.operators.terminal.output import bar, say, show_json, width

SHOWN: Final = 8
"""Of names, of callers and of reasons; how many more there are is said, and `--json` has all."""

NOT_KNOWN: Final = "not known: see above"

_WORDS: Final = {"dead_lettered": "dead-lettered", "failed_requests": "failed requests"}

_NAMES: Final = {Role.INGRESS: ("ingress", "ingresses"), Role.WORKER: ("worker", "workers")}


async def show_status(connections: Connections, *, as_json: bool) -> int:
    """One look; the exit code is the verdict's."""
    seen = await look(connections)
    verdict = judged(seen)
    if as_json:
        show_json(as_dict(seen, verdict))
    else:
        for line in lines(seen, verdict, width()):
            say(line)
    return verdict.exit_code


def as_dict(seen: Snapshot, verdict: StatusVerdict) -> dict[str, Any]:
    """As a document. What is not known is null, and `unknown` says why."""
    processes = None if isinstance(seen.processes, Unknown) else seen.processes
    oldest = None if isinstance(seen.oldest, Unknown) else seen.oldest
    dead = None if isinstance(seen.dead, Unknown) else seen.dead
    recent = None if isinstance(seen.recent, Unknown) else seen.recent
    return {
        "at": seen.at,
        "verdict": verdict.state.value,
        "since": verdict.since,
        "sentence": verdict.sentence,
        "losing": verdict.losing,
        "problems": [asdict(each) for each in verdict.problems],
        "notes": verdict.notes,
        "unknown": verdict.unknown,
        "rates": None if processes is None else {role.value: _rates_as_dict(processes, role) for role in Role},
        "pending": None if isinstance(seen.pending, Unknown) else seen.pending,
        "about_pending": None if isinstance(seen.about_pending, Unknown) else seen.about_pending,
        "oldest": None if oldest is None else _oldest_as_dict(oldest),
        "dead": None if dead is None else [asdict(each) for each in dead],
        "accepted_lately": None if recent is None else asdict(recent),
        "open_circuits": None if processes is None else [asdict(each) for each in open_circuits(processes)],
        "processes": None
        if processes is None
        else [process_as_dict(each) for role in Role for each in running(processes, role)],
    }


def _rates_as_dict(processes: Sequence[Any], role: Role) -> dict[str, Any] | None:
    told = rates(processes, role)
    return None if told is None else {"processes": told.processes, "seconds": told.seconds, **told.per_second}


def _oldest_as_dict(oldest: Oldest) -> dict[str, Any]:
    return {
        "events": len(oldest.events),
        "are_all_pending": oldest.are_all,
        "pending_since": oldest.since,
        "set_aside": sum(each.is_aside for each in oldest.events),
        "in_work": sum(each.is_in_work for each in oldest.events),
        "by_reason": dict(oldest.by_reason().most_common()),
        "by_name": dict(oldest.by_name().most_common()),
        "by_caller": dict(oldest.by_caller().most_common()),
    }


def lines(seen: Snapshot, verdict: StatusVerdict, columns: int) -> Iterator[str]:
    """The screen, for so many columns; what matters most comes first."""
    yield from wrapped(verdict.sentence, columns)
    if verdict.problems and verdict.since is not None:
        yield f"Since {moment(verdict.since)}, for {shown(seen.at - verdict.since)}."
    yield from wrapped(verdict.losing, columns)
    for problem in verdict.problems:
        yield ""
        yield from wrapped(f"! {problem.what}.", columns, indent="  ")
        yield from wrapped(f"  To do: {problem.to_do}.", columns, indent="  ")
    for text in [*verdict.notes, *(f"Not known: {each}" for each in verdict.unknown)]:
        yield ""
        yield from wrapped(f"- {text}.", columns, indent="  ")
    yield ""
    for line in _rate_lines(seen):
        yield from wrapped(line, columns, indent=" " * 13)
    yield ""
    yield from _pending_lines(seen, columns)
    yield ""
    yield from _dead_lines(seen)
    yield ""
    if isinstance(seen.processes, Unknown):
        yield f"Processes    {NOT_KNOWN}"
    else:
        yield f"Processes    as they told within the last {shown(GONE_AFTER)}"
        for line in process_lines(seen.processes, seen.at):
            yield from wrapped(f"  {line}", columns, indent="    ")


def _rate_lines(seen: Snapshot) -> Iterator[str]:
    if isinstance(seen.processes, Unknown):
        yield f"Rates        {NOT_KNOWN}"
        return
    for role in (Role.INGRESS, Role.WORKER):
        one, many = _NAMES[role]
        told = rates(seen.processes, role)
        count = len(running(seen.processes, role))
        if told is None:
            why = f"no {one} runs" if not count else f"{count} {one if count == 1 else many} began just now"
            yield f"{many.capitalize():<12} {why}"
            continue
        texts = [f"{_WORDS.get(name, name)} {value:.1f}/s" for name, value in told.per_second.items()]
        yield (
            f"{many.capitalize():<12} {', '.join(texts)}   over {told.seconds:.0f} s, {told.processes} of {count} told"
        )


def _pending_lines(seen: Snapshot, columns: int) -> Iterator[str]:
    oldest = seen.oldest
    since = None if isinstance(oldest, Unknown) else oldest.since
    age = "" if since is None else f", the oldest since {moment(since)} ({shown(seen.at - since)})"
    yield f"Pending      {_pending_count(seen)}{age}"
    if isinstance(oldest, Unknown):
        yield f"  the oldest: {NOT_KNOWN}"
        return
    if not oldest.events:
        return
    which = "of all of them" if oldest.are_all else f"of the {len(oldest.events)} oldest"
    aside = sum(each.is_aside for each in oldest.events)
    work = sum(each.is_in_work for each in oldest.events)
    yield f"  {which}: {work} in work, {aside} set aside after failing alone"
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


def _pending_count(seen: Snapshot) -> str:
    if not isinstance(seen.pending, Unknown):
        return str(seen.pending)
    if isinstance(seen.about_pending, Unknown):
        return NOT_KNOWN
    return f"about {seen.about_pending}, too many to be counted: estimated from one shard"


def _counts(title: str, counts: Counter[str]) -> Iterator[str]:
    yield title
    for name, count in counts.most_common(SHOWN):
        yield f"{count:>7} {shortened(name, 32)}"
    if len(counts) > SHOWN:
        rest = sum(count for _, count in counts.most_common()[SHOWN:])
        yield f"{rest:>7} of {len(counts) - SHOWN} more"


def _dead_lines(seen: Snapshot) -> Iterator[str]:
    if isinstance(seen.dead, Unknown):
        yield f"Dead         {NOT_KNOWN}"
        return
    yield f"Dead         {sum(each.events for each in seen.dead)}"
    largest = max((each.events for each in seen.dead), default=0)
    for each in seen.dead[:SHOWN]:
        ago = f"last {shown(seen.at - each.last_at)} ago"
        yield f"{each.events:>9} {shortened(each.reason, 24):<24} {ago:<16} {bar(each.events, largest, 20)}".rstrip()
    if len(seen.dead) > SHOWN:
        rest = sum(each.events for each in seen.dead[SHOWN:])
        yield f"{rest:>9} of {len(seen.dead) - SHOWN} more reasons"
