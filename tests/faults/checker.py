"""The checker of all rows: compares the client's log with Spanner, Statsig's log and the dead letters."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from tests.faults.client import ABANDONED, OK, Attempt
from tests.faults.evidence import Evidence
from tests.faults.lasting import Poison
from tests.faults.measures import Latency, latency, requests_per_second
from tests.faults.poison_check import cost_of, of_deliveries, of_poisoned, waived
from tests.faults.row import Row
from tests.faults.verdict import Run, RunVerdict
from tests.support.histories import explains

LATE_SECONDS: Final = 0.25
"""How much later than its deadline an answer may come."""

MAX_NAMED: Final = 3
"""The most ids in the text of a breach."""


def check(row: Row, seed: int, attempts: Sequence[Attempt], evidence: Evidence, run: Run) -> RunVerdict:
    answered = {attempt.event_id for attempt in attempts if attempt.code == OK}
    copies = evidence.copies
    dead = {letter.event_id for letter in evidence.dead_letters if letter.reason}
    forwarded = {event.event_id for event in evidence.stored.values() if event.forwarded}
    # Every call asks for forwarding, so only a rule may change that, and then the answer says so.
    warned = {attempt.event_id for attempt in attempts if attempt.is_stored_only or attempt.duplicate}
    stored_only = (warned & evidence.stored.keys()) - forwarded
    wanted = forwarded | (answered - stored_only)
    poisoned = Poison.of(row, seed).among({e.event_id: e.event_name for e in evidence.stored.values()})
    excused = waived(row, evidence, poisoned)
    lost = wanted - copies.keys() - dead - excused
    phantom = copies.keys() - evidence.stored.keys()
    duplicated = sum(count - 1 for count in copies.values())
    ambiguous = sum(event.possible_duplicates for event in evidence.stored.values())
    each = row.expect.duplicates_per_incident
    allowed = ambiguous if each is None else each * run.incidents
    rate = requests_per_second(evidence.received, run.healed_at)
    by_phase = _phases(attempts, run)
    breaches = [
        *run.noted,
        *_if(lost, "lost", lost),
        *_if(answered - evidence.stored.keys(), "answered without a row", answered - evidence.stored.keys()),
        *_if(phantom, "at Statsig without a row", phantom),
        *_if(stored_only & copies.keys(), "stored only and at Statsig", stored_only & copies.keys()),
        *_counting(evidence, duplicated, allowed),
        *_ledger(evidence, dead, excused),
        *_keys(attempts, evidence),
        *_answers(row, attempts),
        *(_dead_letters(row, evidence) if row.expect.poisoned is None else of_poisoned(row, evidence, poisoned)),
        *of_deliveries(row, attempts, evidence, run, poisoned | dead | stored_only),
        *_bounds(row, run, by_phase["during"], rate),
        *_logs(row, run),
    ]
    return RunVerdict(
        row=row,
        seed=seed,
        events=len({attempt.key for attempt in attempts}),
        answered=len(answered),
        lost=len(lost),
        duplicated=duplicated,
        allowed=allowed,
        ambiguous=ambiguous,
        dead=len(evidence.dead_letters),
        phantom=len(phantom),
        **by_phase,
        drain_seconds=run.drain_seconds,
        peak_mib=run.peak_mib,
        requests_per_second=rate,
        attempts=dict(Counter(attempt.code for attempt in attempts)),
        breaches=tuple(breaches),
        notes=(*run.notes, *cost_of(row, evidence, poisoned)),
    )


def _if(what: object, text: str, ids: set[str]) -> Iterator[str]:
    if what:
        yield f"{len(ids)} {text}: {', '.join(sorted(ids)[:MAX_NAMED])}"


def _phases(attempts: Sequence[Attempt], run: Run) -> dict[str, Latency]:
    return {
        "before": latency(a for a in attempts if a.sent_at < run.fault_at),
        "during": latency(a for a in attempts if run.fault_at <= a.sent_at < run.healed_at),
        "after": latency(a for a in attempts if a.sent_at >= run.healed_at),
    }


def _counting(evidence: Evidence, duplicated: int, allowed: int) -> Iterator[str]:
    if duplicated > allowed:
        yield f"{duplicated} copies too many at Statsig, {allowed} allowed"
    uncounted = {
        event_id
        for event_id, count in evidence.copies.items()
        if event_id in evidence.stored and count - 1 > evidence.stored[event_id].possible_duplicates
    }
    yield from _if(uncounted, "copies that the ledger does not count as possible duplicates", uncounted)


def _ledger(evidence: Evidence, dead: set[str], excused: set[str]) -> Iterator[str]:
    copies = evidence.copies
    # Statsig has it from ambiguous attempts only: the ledger need not count it as delivered.
    unsure = {
        event_id
        for event_id, count in copies.items()
        if event_id in evidence.stored and count <= evidence.stored[event_id].possible_duplicates
    }
    for state, ids in (("DELIVERED", set(copies)), ("DEAD", dead)):
        settled = {event.event_id for event in evidence.stored.values() if event.state == state}
        yield from _if(settled - ids, f"{state} in the ledger only", settled - ids)
        missing = (ids & evidence.stored.keys()) - settled - excused - (unsure if state == "DELIVERED" else set())
        yield from _if(missing, f"not {state} in the ledger although they are", missing)
    pending = {event.event_id for event in evidence.stored.values() if event.state == "PENDING"} - excused
    yield from _if(pending, "still pending", pending)
    unborn = {event.event_id for event in evidence.stored.values() if event.forwarded and event.state is None}
    yield from _if(unborn, "without a ledger row", unborn)
    unexplained = {
        event.event_id
        for event in evidence.stored.values()
        if not explains(event.history, event.attempts, event.possible_duplicates)
    }
    yield from _if(unexplained, "whose history does not explain the counts", unexplained)


def _keys(attempts: Sequence[Attempt], evidence: Evidence) -> Iterator[str]:
    ids: dict[str, set[str]] = {}
    for attempt in attempts:
        if attempt.code == OK:
            ids.setdefault(attempt.key, set()).add(attempt.event_id)
    several = {key for key, answers in ids.items() if len(answers) > 1}
    yield from _if(several, "keys answered with several ids", several)
    rows = Counter(event.actor_id for event in evidence.stored.values())
    doubled = {key for key in {attempt.key for attempt in attempts} if rows[key] > 1}
    yield from _if(doubled, "keys with several rows", doubled)


def _answers(row: Row, attempts: Sequence[Attempt]) -> Iterator[str]:
    last: dict[str, Attempt] = {}
    for attempt in attempts:
        if attempt.key not in last or attempt.number >= last[attempt.key].number:
            last[attempt.key] = attempt
    final = Counter(attempt.code for attempt in last.values())
    # Several calls may share a key: the last attempt is one without a later one.
    earlier = Counter(attempt.code for attempt in attempts if attempt.number < last[attempt.key].number)
    for code, allowed, which in (
        *((code, row.expect.failures, "last") for code in final),
        *((code, row.expect.attempt_failures | row.expect.failures, "earlier") for code in earlier),
    ):
        if code not in allowed | {OK}:
            count = (final if which == "last" else earlier)[code]
            yield f"{count} {which} attempts ended with {code}"
    late = [a for a in attempts if a.code != ABANDONED and a.seconds > a.deadline_seconds + LATE_SECONDS]
    if late:
        longest = max(a.seconds - a.deadline_seconds for a in late)
        yield f"{len(late)} attempts outlived their deadline, by {longest:.2f} s at most"


def _dead_letters(row: Row, evidence: Evidence) -> Iterator[str]:
    for reason, count in Counter(letter.reason for letter in evidence.dead_letters).items():
        allowed = row.expect.dead_letters.get(reason, 0)
        if count > allowed:
            yield f"{count} dead letters for '{reason or 'no reason'}', {allowed} allowed"


def _bounds(row: Row, run: Run, during: Latency, rate: float) -> Iterator[str]:
    expect = row.expect
    for what, value, bound in (
        ("p99 during the fault (ms)", during.p99, expect.p99_during_ms),
        ("drain (s)", run.drain_seconds, expect.drain_seconds + run.more_drain_seconds),
        ("growth of a process (MiB)", run.memory_growth_mib, expect.memory_growth_mib),
        ("requests/s to Statsig after the heal", rate, expect.requests_per_second),
    ):
        if bound is not None and value > bound:
            yield f"{what} {value:.1f}, {bound:g} allowed"


def _logs(row: Row, run: Run) -> Iterator[str]:
    for name, lines in run.logs.items():
        strange = [line["not_json"] for line in lines if "not_json" in line]
        if strange and not row.expect.log_may_break:
            yield f"{name}: {len(strange)} lines that are no JSON: {strange[0].strip()[:120]}"
        crashes = [line for line in lines if str(line.get("message", "")).endswith("_crashed")]
        if crashes:
            last = str(crashes[0].get("exception", "")).strip().splitlines()[-1:]
            yield f"{name}: {len(crashes)} times {crashes[0]['message']}: {''.join(last)[:200]}"
