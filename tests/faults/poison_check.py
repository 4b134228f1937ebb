"""Checks of poisoned events, which Statsig never accepts, and of how soon it has the others."""

from collections import Counter
from collections.abc import Iterator, Sequence

from tests.faults.client import Attempt
from tests.faults.deliveries import waits
from tests.faults.evidence import Evidence
from tests.faults.row import IMPATIENT, Row
from tests.faults.verdict import Run
from worker.ruling import RULE_REASON


def waived(row: Row, evidence: Evidence, poisoned: set[str]) -> set[str]:
    """Poisoned events that are still pending, where that is no breach."""
    if row.expect.poisoned is None or not row.expect.poisoned.may_stay_pending:
        return set()
    return {event_id for event_id in poisoned if evidence.stored[event_id].state == "PENDING"}


def of_poisoned(row: Row, evidence: Evidence, poisoned: set[str]) -> Iterator[str]:
    """The breaches of poisoned events: their state, their dead letters, their cost, and other dead letters."""
    expect = row.expect.poisoned
    assert expect is not None
    if not poisoned:
        yield "no event was poisoned: no fault"
        return
    confirmed = {event_id for event_id in poisoned if evidence.stored[event_id].state == "DELIVERED"}
    if confirmed:
        yield f"{len(confirmed)} poisoned events are DELIVERED, which Statsig never said: {min(confirmed)}"
    letters = [letter for letter in evidence.dead_letters if letter.event_id in poisoned]
    for reason, count in Counter(letter.reason for letter in letters).items():
        if reason not in expect.reasons and reason != RULE_REASON:
            yield f"{count} dead letters of poisoned events for '{reason or 'no reason'}'"
    ruled = {letter.event_id for letter in evidence.dead_letters if letter.reason == RULE_REASON}
    against = {e for e in ruled if evidence.stored[e].event_name not in expect.dead_by_rule}
    if against:
        yield f"{len(against)} are dead letters by a rule that does not take their name: {min(against)}"
    others = {
        letter.event_id: letter.reason
        for letter in evidence.dead_letters
        if letter.event_id not in poisoned and letter.event_id not in ruled
    }
    allowed = expect.others_may_die(len(evidence.stored))
    if len(others) > allowed:
        yield f"{len(others)} others are dead letters, {allowed} allowed: {dict(Counter(others.values()))}"
    unfounded = {letter.event_id for letter in evidence.dead_letters} - _failed_alone(row, evidence) - ruled
    if unfounded:
        yield f"{len(unfounded)} are dead letters for what no request that carried them alone drew: {min(unfounded)}"
    yield from _cost(row, evidence, poisoned)


def _failed_alone(row: Row, evidence: Evidence) -> set[str]:
    """The dead letters whose reason the log of requests confirms: the status, or enough trials alone."""
    trials = int({**IMPATIENT, **row.settings}["SUSPECT_ATTEMPTS"])
    alone: dict[str, list[str]] = {}
    for request in evidence.requests:
        if len(request.event_ids) == 1:
            alone.setdefault(request.event_ids[0], []).append(request.did)
    return {
        letter.event_id
        for letter in evidence.dead_letters
        for done in (alone.get(letter.event_id, []),)
        if len(done) >= trials or any(did.startswith(letter.reason.replace("http_", "answering ")) for did in done)
    }


def _cost(row: Row, evidence: Evidence, poisoned: set[str]) -> Iterator[str]:
    expect = row.expect.poisoned
    assert expect is not None
    each = carried(evidence, poisoned)
    most = max(each.values(), default=0)
    if most > expect.requests_each:
        yield f"a poisoned event was carried by {most} requests, {expect.requests_each} allowed"
    share = share_of_requests(evidence, poisoned)
    if share > expect.share_of_requests:
        yield f"{share:.0%} of all requests carried a poisoned event, {expect.share_of_requests:.0%} allowed"


def cost_of(row: Row, evidence: Evidence, poisoned: set[str]) -> list[str]:
    """Measurements of poisoned events, for the table."""
    if row.expect.poisoned is None:
        return []
    most = max(carried(evidence, poisoned).values(), default=0)
    dead = Counter(letter.event_id in poisoned for letter in evidence.dead_letters)
    share = share_of_requests(evidence, poisoned)
    ends = f"{len(poisoned)} poisoned, {dead[True]} of them and {dead[False]} others dead"
    return [f"{ends}; a poisoned one was in {most} requests at most, any in {share:.0%} of {len(evidence.requests)}"]


def carried(evidence: Evidence, event_ids: set[str]) -> Counter[str]:
    """How many requests carried each event."""
    return Counter(
        event_id for request in evidence.requests for event_id in set(request.event_ids) if event_id in event_ids
    )


def share_of_requests(evidence: Evidence, event_ids: set[str]) -> float:
    """The share of requests that carried any of these events."""
    with_any = sum(not event_ids.isdisjoint(request.event_ids) for request in evidence.requests)
    return with_any / max(1, len(evidence.requests))


def of_deliveries(
    row: Row, attempts: Sequence[Attempt], evidence: Evidence, run: Run, spared: set[str]
) -> Iterator[str]:
    """The breaches of delivery times, except for `spared` events: dead and poisoned ones."""
    for what, bound, since in (
        ("its call", row.expect.delivered_within_seconds, 0.0),
        ("its call or the heal", row.expect.delivered_after_heal_seconds, run.healed_at),
    ):
        if bound is None:
            continue
        taken = {each: s for each, s in waits(attempts, evidence.received, since=since).items() if each not in spared}
        late = {event_id for event_id, seconds in taken.items() if seconds > bound}
        if late:
            longest = max(taken.values())
            yield f"{len(late)} events came to Statsig up to {longest:.1f} s after {what}, {bound:g} s allowed"
