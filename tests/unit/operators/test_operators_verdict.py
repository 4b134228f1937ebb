"""The verdict on a snapshot: its state, its sentences, what to do, and the exit code.

One module, although a long one: half of it is the table of snapshots and verdicts.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.events.rules import Match, RuleAction
from shared.process.process_states import ProcessState, Report, Role, SeenProcess
from shared.spanner.shards import BEGINNING
from tests.support.sample_rules import sample_rule
from worker.operators.doctor.findings import FindingLevel as Found
from worker.operators.doctor.flow import flow_findings
from worker.operators.state.advice import advice_for, delivery_advice
from worker.operators.state.asking import Unknown
from worker.operators.state.backlog import DeadGroup, Recent
from worker.operators.state.pending import Oldest, PendingEvent
from worker.operators.state.processes import open_circuits, process_as_dict, process_lines, rates, running
from worker.operators.state.snapshot import TOO_MANY, Snapshot, nothing_pending_before
from worker.operators.state.status import as_dict, lines
from worker.operators.state.verdict import State, judge

AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
DOWN = Unknown("Spanner did not answer within 5 s")


def seen(role: Role = Role.WORKER, *, seconds_ago: float = 3, interval: float = 10.0, **fields: Any) -> SeenProcess:
    is_stopped = fields.pop("is_stopped", False)
    state = ProcessState(
        process_id="6cf56cc8-4ae1-4405-bc63-97157a1b5c23",
        role=role,
        version="1.2.3",
        started_at=AT - timedelta(hours=1),
        interval_seconds=interval,
        report=Report(**fields),
        is_stopped=is_stopped,
    )
    return SeenProcess(state, timedelta(seconds=seconds_ago))


def waiting(seconds: float, **fields: Any) -> PendingEvent:
    usual: dict[str, Any] = {
        "event_id": "e", "event_name": "order_paid", "event_type": None, "caller": "a@example.com", "reason": None,
        "last_attempt_at": None, "is_set_aside": False, "is_in_flight": False,
    }  # fmt: skip
    return PendingEvent(pending_since=AT - timedelta(seconds=seconds), **usual | fields)


OPEN = seen(circuit_reason="http_503", circuit_since=AT - timedelta(minutes=4), next_probe_at=AT + timedelta(seconds=8))
RUNS = seen(delivered=50)
INGRESS = seen(Role.INGRESS, accepted=120, refused=5)
SILENT = seen(seconds_ago=31)
STOPPED = seen(seconds_ago=5, is_stopped=True)

PAUSE = sample_rule(RuleAction.PAUSE, now=AT, match=Match())
HOLD = sample_rule(RuleAction.HOLD, now=AT)
REFUSE = sample_rule(RuleAction.REFUSE, now=AT)

WELL = Snapshot(
    at=AT,
    processes=[RUNS, INGRESS],
    pending=2,
    about_pending=64,
    oldest=Oldest((waiting(2), waiting(1)), are_all=True),
    dead=(),
    recent=Recent(300, ()),
    rules=(),
)


def snapshot(**fields: Any) -> Snapshot:
    return replace(WELL, **fields)


def late(*events: PendingEvent) -> Oldest:
    return Oldest(events, are_all=False)


@pytest.mark.parametrize(
    ("fields", "state", "code", "says"),
    [
        ({}, State.WELL, 0, "each of 300 events sampled from the last 2m has its ledger row"),
        ({"recent": Recent(0, ())}, State.WELL, 0, "No event was accepted for forwarding within the last 2m"),
        ({"processes": [OPEN, INGRESS]}, State.STOPPED, 1, "of 1 of 1 worker has been open since 2026-03-04 05:02"),
        ({"processes": [OPEN, RUNS]}, State.DELAYED, 1, "The circuit of 1 of 2 workers has been open since"),
        ({"processes": [OPEN]}, State.STOPPED, 1, "next probe in 8s"),
        ({"processes": [SILENT]}, State.STOPPED, 1, "(31s ago) and has not reported since"),
        ({"processes": [STOPPED]}, State.STOPPED, 1, "(5s ago) when it was stopped"),
        ({"processes": []}, State.STOPPED, 1, "none was seen within a day"),
        ({"processes": [RUNS]}, State.WELL, 0, "No ingress runs"),
        ({"oldest": late(waiting(61))}, State.DELAYED, 1, "event has been pending since 2026-03-04 05:05:06Z (1m 1s)"),
        ({"oldest": late(waiting(61)), "pending": 600}, State.DELAYED, 1, "at 5.0/s for another 2m"),
        ({"oldest": late(waiting(600, is_set_aside=True), waiting(3))}, State.WELL, 0, "1 pending event is set aside"),
        ({"processes": [seen()], "oldest": late(waiting(90))}, State.DELAYED, 1, "reconcile --older-than 5m"),
        ({"processes": [seen()], "oldest": late(waiting(90, reason="http_503"))}, State.DELAYED, 1, "claim_failed"),
        ({"processes": [RUNS, seen(Role.INGRESS, failed=3)]}, State.FAILING, 1, "3 events or calls failed within 10 s"),
        ({"recent": Recent(300, ("e-1",))}, State.UNACCOUNTED, 1, "1 of 300 events sampled from the last 2m have no"),
        ({"dead": (DeadGroup("http_400", 9, AT, 2),)}, State.WELL, 0, "2 events were dead-lettered within the last 1h"),
        ({"dead": (DeadGroup("http_400", 9, AT, 0),)}, State.WELL, 0, "has its ledger row"),
        ({"processes": DOWN}, State.UNKNOWN, 3, "processes and rates: Spanner did not answer within 5 s"),
        ({"rules": (PAUSE,)}, State.STOPPED, 1, "alice has paused forwarding until 2026-03-04 06:06:07Z: a test"),
        ({"rules": (PAUSE,), "oldest": late(waiting(90))}, State.STOPPED, 1, "once forwarding is resumed"),
        ({"rules": (HOLD,), "oldest": late(waiting(600), waiting(3))}, State.WELL, 0, "A rule holds 2 of the oldest"),
        ({"rules": (HOLD,), "oldest": late(waiting(61, event_name="x"))}, State.DELAYED, 1, "since 2026-03-04 05:05"),
        ({"rules": (REFUSE,)}, State.WELL, 0, "Refused by rule: event name order_paid (a test)"),
        ({"rules": DOWN}, State.WELL, 3, "operators' rules: Spanner did not answer"),
        ({"dead": DOWN}, State.WELL, 3, "dead events: Spanner did not answer"),
        ({"recent": DOWN}, State.UNKNOWN, 3, "Whether anything is lost is not known."),
        ({"pending": TOO_MANY}, State.WELL, 3, "Pending about 64 (estimated from one shard)"),
        ({"pending": DOWN, "processes": [OPEN]}, State.STOPPED, 1, "how many are pending: Spanner did not answer"),
    ],
)  # fmt: skip
def test_every_snapshot_has_its_verdict(fields: dict[str, Any], state: State, code: int, says: str) -> None:
    looked = snapshot(**fields)
    verdict = judge(looked)

    assert (verdict.state, verdict.exit_code) == (state, code)
    assert says in " ".join(" ".join(lines(looked, verdict, 100_000)).split()), list(lines(looked, verdict, 200))
    assert all(problem.to_do for problem in verdict.problems)


def test_what_is_wrong_is_told_with_the_time_since_when() -> None:
    looked = snapshot(processes=[OPEN, INGRESS], oldest=late(waiting(230)))

    verdict = judge(looked)

    assert verdict.since == AT - timedelta(minutes=4)
    assert "Since 2026-03-04 05:02:07Z, for 4m." in list(lines(looked, verdict, 120))
    assert [problem.subject for problem in verdict.problems] == ["circuit", "pending"]


def test_what_could_not_be_asked_is_never_a_number() -> None:
    nothing = Snapshot(
        at=AT, processes=DOWN, pending=DOWN, about_pending=DOWN, oldest=DOWN, dead=DOWN, recent=DOWN, rules=DOWN
    )
    verdict = judge(nothing)
    screen = list(lines(nothing, verdict, 100))
    document = as_dict(nothing, verdict)

    assert verdict.exit_code == 3
    assert not any(character.isdigit() for line in screen for character in line.replace("within 5 s", ""))
    assert sum("Spanner did not answer" in line for line in screen) == 1, "each reason is told once"
    assert {key for key, value in document.items() if value is None} == {
        "since", "rates", "rules", "pending", "about_pending", "oldest", "dead", "accepted_lately", "open_circuits",
        "processes",
    }  # fmt: skip


def test_rates_are_those_of_all_processes_together_over_their_last_interval() -> None:
    workers = [seen(delivered=50, interval=10.0), seen(delivered=10, interval=5.0), seen(interval=0.0), SILENT]

    told = rates(workers, Role.WORKER)

    assert told is not None
    assert (told.processes, told.seconds) == (2, 10.0)
    assert told.per_second == {"delivered": 7.0, "dead_lettered": 0.0, "failed_requests": 0.0}
    assert rates([seen(interval=0.0)], Role.WORKER) is None
    assert rates([INGRESS], Role.WORKER) is None


def test_a_scan_of_what_is_pending_begins_where_some_worker_found_nothing_before() -> None:
    early, late_one = (seen(nothing_pending_before=AT - timedelta(seconds=each)) for each in (60, 5))

    assert nothing_pending_before([early, late_one, RUNS]) == AT - timedelta(seconds=5)
    assert nothing_pending_before([RUNS]) == nothing_pending_before(DOWN) == BEGINNING


def test_a_process_runs_until_it_stopped_or_told_nothing_for_30_seconds() -> None:
    assert running([STOPPED, RUNS, OPEN, SILENT, INGRESS], Role.WORKER) == [RUNS, OPEN]


def test_circuits_are_told_by_reason_that_of_the_most_workers_first() -> None:
    other = seen(circuit_reason="timeout", circuit_since=AT - timedelta(minutes=9))

    found = open_circuits([other, OPEN, OPEN, RUNS])

    assert [(each.reason, each.workers) for each in found] == [("http_503", 2), ("timeout", 1)]
    assert found[1].next_probe_at is None


def test_each_process_is_shown_with_what_it_told() -> None:
    failed = seen(last_failure="timeout", last_failure_at=AT - timedelta(minutes=26))

    closed, opened, ingress = process_lines([INGRESS, failed, OPEN], AT)

    assert closed.endswith("seen 3s ago  circuit closed; last failed request 26m ago: timeout")
    assert opened.endswith("circuit open since 2026-03-04 05:02:07Z: http_503")
    assert ingress.endswith("seen 3s ago")
    assert process_as_dict(OPEN)["circuit"] == "open"
    assert (process_as_dict(INGRESS)["accepted"], "circuit" in process_as_dict(INGRESS)) == (120, False)


def test_more_kinds_than_are_shown_are_counted() -> None:
    many = tuple(waiting(1, event_name=f"name_{number}") for number in range(12))
    looked = snapshot(oldest=Oldest(many, are_all=False))

    screen = list(lines(looked, judge(looked), 200))

    assert any("of the 12 oldest" in line for line in screen)
    assert any("4 in 4 more" in line for line in screen)


def test_what_is_counted_stands_side_by_side_where_there_is_room() -> None:
    looked = snapshot(oldest=late(waiting(1, reason="http_503")))
    verdict = judge(looked)

    def titles(columns: int) -> int:
        return sum("by event name" in line and "by caller" in line for line in lines(looked, verdict, columns))

    assert (titles(120), titles(40)) == (1, 0)
    assert all(len(line) <= 80 for line in lines(looked, verdict, 80) if "6cf56cc8" not in line)


@pytest.mark.parametrize(
    ("reason", "says"),
    [
        ("http_503", "status page"),
        ("http_408", "status page"),
        ("http_401", "STATSIG_SERVER_SECRET"),
        ("dns", "STATSIG_API_URL"),
        ("http_429", "limit"),
        ("http_400", "dead-letters list"),
        ("timeout", "network"),
        ("a word of tomorrow", "network"),
    ],
)
def test_every_reason_of_a_circuit_has_its_advice(reason: str, says: str) -> None:
    assert says in advice_for(reason)


@pytest.mark.parametrize(
    ("processes", "says"),
    [
        ([RUNS, OPEN], None),
        ([OPEN], "a reconcile does not speed that up"),
        ([SILENT], "No worker runs: the last one was seen"),
        (DOWN, "Whether a worker runs is not known: Spanner"),
    ],
)
def test_a_pending_event_waits_for_its_workers(processes: list[SeenProcess] | Unknown, says: str | None) -> None:
    found = delivery_advice(processes, AT)

    assert found is None if says is None else says in (found or "")


def test_doctor_says_of_the_flow_what_the_verdict_says() -> None:
    ill = flow_findings(snapshot(processes=[OPEN, INGRESS], oldest=late(waiting(61)), recent=DOWN))
    well = flow_findings(WELL)
    unseen = flow_findings(snapshot(processes=DOWN, oldest=DOWN, recent=DOWN))

    assert {each.subject: each.level for each in ill} == {
        "worker": Found.OK, "circuit": Found.WRONG, "ingress": Found.OK, "pending": Found.WRONG, "ledger": Found.UNSEEN,
    }  # fmt: skip
    assert all(each.to_do for each in ill if each.level is Found.WRONG)
    assert {each.level for each in well} == {Found.OK}
    assert {each.level for each in unseen} == {Found.UNSEEN}
