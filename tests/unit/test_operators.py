"""The pure parts of the operators' commands: what a dead letter says, which are chosen, what would become of each."""

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from google.api_core import exceptions as google
from google.pubsub_v1 import DeadLetterPolicy, ExpirationPolicy, RetryPolicy, Subscription
from typer.testing import CliRunner

from shared import forward_message
from shared.attempt_history import HistoryEntry, HistoryKind
from shared.errors import SubscriptionUnavailableError
from shared.forward_ledger import ForwardState
from shared.worker_states import SeenWorker, WorkerState
from tests.support.sample_events import sample_event
from worker.dead_letters import PREFIX
from worker.operators.cli import app
from worker.operators.durations import parse_age, shown
from worker.operators.exits import UsageError
from worker.operators.filters import Filters
from worker.operators.findings import Verdict, dead_letter_problems, forward_problems
from worker.operators.forecast import Outcome, forecast, histogram
from worker.operators.letters import Casualty, Kind, by_subject, read_letter
from worker.operators.publication import first_attempt_at, publication
from worker.operators.records import Record
from worker.operators.running import failed
from worker.operators.selection import Selection, read_ids, selection
from worker.operators.terminal import bar, clean
from worker.operators.whereabouts import whereabouts
from worker.operators.workers import running, worker_as_dict, worker_finding, worker_lines
from worker.subscription import ReceivedMessage

AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
HOUR = timedelta(hours=1)
REASONED = {PREFIX + "reason": "http_400", PREFIX + "last_at": (AT - HOUR).isoformat()}
NATIVE = {"CloudPubSubDeadLetterSourceDeliveryCount": "5"}


def received(data: bytes, attributes: dict[str, str], message_id: str = "1") -> ReceivedMessage:
    return ReceivedMessage(f"ack-{message_id}", message_id, data, attributes, AT, 0)


def buried(attributes: dict[str, str], message_id: str = "1", **fields: Any) -> ReceivedMessage:
    message = forward_message.encode(sample_event(**fields))
    return received(message.data, message.attributes | attributes, message_id)


def casualty(attributes: dict[str, str] = REASONED, **fields: Any) -> Casualty:
    (found,) = by_subject([read_letter(buried(attributes, **fields))])
    return found


def record(**fields: Any) -> Record:
    values: dict[str, Any] = dict.fromkeys(Record.__dataclass_fields__)
    usual = {"event_id": "e", "event_name": "order_paid", "ingested_at": AT - HOUR, "forward_to_statsig": True}
    return Record(
        **values
        | usual
        | {"read_at": AT, "attempts": 1, "replays": 0, "possible_duplicates": 0, "history": ()}
        | fields
    )


DEAD = record(state=ForwardState.DEAD, last_reason="http_400", settled_at=AT - HOUR, caller="a@example.com")


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("24h", 86_400), (" 7d ", 604_800), ("0s", 0)]
)
def test_ages_are_read(text: str, seconds: int) -> None:
    assert parse_age(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "5", "h", "1w", "-1h", "1h30m", "1.5h", "९h", "999999999999d"])
def test_what_is_no_age_is_told(text: str) -> None:
    with pytest.raises(UsageError, match=r"write 90s, 15m, 24h or 7d|longer than a hundred"):
        parse_age(text)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (59, "59s"), (61, "1m 1s"), (3600, "1h"), (90_061, "1d 1h"), (-5, "0s")]
)
def test_ages_are_shown_in_two_units(seconds: int, text: str) -> None:
    assert shown(timedelta(seconds=seconds)) == text


def test_a_letter_of_ours_says_why_and_when() -> None:
    letter = read_letter(buried(REASONED))

    assert (letter.kind, letter.reason, letter.dead_at) == (Kind.REASONED, "http_400", AT - HOUR)


def test_a_native_letter_has_no_reason_of_ours() -> None:
    letter = read_letter(buried(NATIVE))

    assert (letter.kind, letter.reason, letter.dead_at) == (Kind.NATIVE, "native", AT)
    assert letter.native_deliveries == "5"


@pytest.mark.parametrize("attributes", [{}, REASONED, NATIVE, {PREFIX + "last_at": "yesterday"}])
@pytest.mark.parametrize("data", [b"", b"{}", b"\x00\xff", b"[" * 20_000])
def test_what_does_not_decode_is_poison_whoever_buried_it(data: bytes, attributes: dict[str, str]) -> None:
    letter = read_letter(received(data, attributes, "m-7"))

    assert letter.kind is Kind.POISON
    assert (letter.subject, letter.event) == ("m-7", None)


def test_what_is_replayed_is_the_original_message() -> None:
    original = forward_message.encode(sample_event(traceparent="00-1"))
    foreign = REASONED | NATIVE | {"googclient_x": "y"}

    letter = read_letter(received(original.data, original.attributes | foreign))

    assert letter.original() == original


def test_letters_of_one_event_are_one_casualty_and_the_first_dead_come_first() -> None:
    event = sample_event()
    message = forward_message.encode(event)
    twice = [received(message.data, message.attributes | REASONED, number) for number in ("1", "2")]
    later = buried({PREFIX + "last_at": AT.isoformat(), PREFIX + "reason": "http_413"}, "3")

    found = by_subject(read_letter(each) for each in [later, *twice, replace(twice[0], ack_id="again")])

    assert [len(each.letters) for each in found] == [2, 1]
    assert {m.ack_id for m in found[0].messages} == {"again", "ack-2"}


@pytest.mark.parametrize(
    ("choice", "taken"),
    [
        (Selection(), True),
        (Selection(reasons=frozenset({"http_400", "native"})), True),
        (Selection(reasons=frozenset({"native"})), False),
        (Selection(event_names=frozenset({"order_paid"})), True),
        (Selection(event_names=frozenset({"order"})), False),
        (Selection(callers=frozenset({"a@example.com"})), True),
        (Selection(callers=frozenset({"b@example.com"})), False),
        (Selection(older_than=HOUR), True),
        (Selection(older_than=HOUR * 2), False),
        (Selection(younger_than=HOUR * 2), True),
        (Selection(younger_than=HOUR), False),
        (Selection(ids=frozenset({"other"})), False),
        (Selection(reasons=frozenset({"http_400"}), callers=frozenset({"b@example.com"})), False),
    ],
)
def test_every_filter_that_is_set_must_match(choice: Selection, taken: bool) -> None:
    assert choice.takes(casualty(), DEAD, AT) is taken
    assert choice.takes_row(DEAD) is taken


def test_an_id_matches_the_event_and_poison_by_its_message() -> None:
    found = casualty()
    (poison,) = by_subject([read_letter(received(b"x", {}, "m-9"))])

    assert Selection(ids=frozenset({found.subject})).takes(found, None, AT)
    assert Selection(ids=frozenset({"m-9"})).takes(poison, None, AT)


def test_ids_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "ids"
    path.write_text("a-1\n\n  b-2  # seen in the log\n# nothing\n")

    assert read_ids(str(path)) == {"a-1", "b-2"}


@pytest.mark.parametrize("content", [b"", b"# none\n", b"a b\n", b"\xff\xfe\x00", b"../../x\n"])
def test_a_bad_file_of_ids_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ids"
    path.write_bytes(content)
    for source in (str(path), str(tmp_path), str(tmp_path / "absent")):
        with pytest.raises(UsageError, match="--ids-from"):
            read_ids(source)


def test_ages_that_exclude_each_other_are_told() -> None:
    with pytest.raises(UsageError, match="nothing is both"):
        selection(Filters(older_than="2h", younger_than="1h"))


@pytest.mark.parametrize(
    ("known", "outcome"),
    [
        (None, Outcome.MISSING),
        (record(state=None), Outcome.MISSING),
        (record(state=ForwardState.DELIVERED), Outcome.DELIVERED),
        (record(state=ForwardState.PENDING), Outcome.SENT_AGAIN),
        (record(state=ForwardState.PENDING, claimed_until=AT - HOUR), Outcome.SENT_AGAIN),
        (record(state=ForwardState.PENDING, claimed_until=AT + HOUR), Outcome.IN_WORK),
        (record(state=ForwardState.DEAD, replays=2), Outcome.SENT),
        (record(state=ForwardState.DEAD, replays=3), Outcome.QUARANTINED),
    ],
)
def test_what_a_replay_would_do_is_foreseen(known: Record | None, outcome: Outcome) -> None:
    assert forecast(casualty(), known, max_replays=3) is outcome


def test_poison_is_never_replayed() -> None:
    (poison,) = by_subject([read_letter(received(b"x", {}))])

    assert forecast(poison, DEAD, max_replays=3) is Outcome.POISON


def test_the_histogram_is_in_the_outcomes_order() -> None:
    rows = histogram([(Outcome.POISON, "x"), (Outcome.SENT, "b"), (Outcome.SENT, "a"), (Outcome.SENT, "a")])

    assert rows == [(Outcome.SENT, "a", 2), (Outcome.SENT, "b", 1), (Outcome.POISON, "x", 1)]


@pytest.mark.parametrize(
    ("known", "letters", "says", "is_well"),
    [
        (record(state=None, forward_to_statsig=False), None, "was not to be forwarded", True),
        (record(state=None), None, "its ledger row is gone", False),
        (record(state=ForwardState.DELIVERED), None, "Statsig has it.", True),
        (record(state=ForwardState.DELIVERED, possible_duplicates=2), None, "At most 2 more copies", True),
        (record(state=ForwardState.DELIVERED), casualty(), "a dead letter from before is left", True),
        (record(state=ForwardState.PENDING), None, "no worker has tried", False),
        (record(state=ForwardState.PENDING, last_reason="http_503"), None, "ended with http_503", False),
        (record(state=ForwardState.PENDING, claimed_until=AT + HOUR), None, "right now", True),
        (record(state=ForwardState.PENDING, not_before=AT + HOUR, last_reason="http_500"), None, "again in 1h", False),
        (record(state=ForwardState.PENDING, not_before=AT, last_reason="http_500"), None, "ended with http_500", False),
        (record(state=ForwardState.PENDING), casualty(NATIVE), "lies among the dead letters", False),
        (record(state=ForwardState.PENDING, replays=1, pending_since=AT), None, "was replayed 0s ago", False),
        (DEAD, casualty(), "given up with http_400 after 1 attempt and lies", False),
        (DEAD, None, "no dead letter of it was found", False),
        (record(state=ForwardState.DEAD, replays=3), casualty(), "quarantined", False),
    ],
)
def test_one_sentence_says_where_an_event_is(known: Record, letters: Casualty | None, says: str, is_well: bool) -> None:
    where = whereabouts(known, letters)

    assert says in where.sentence
    assert where.is_well is is_well
    assert where.advice


FIRST, LATER = (HistoryEntry(HistoryKind.ATTEMPT, AT + HOUR * n, "transient", "http_503", 503) for n in (0, 1))
MESSAGE = REASONED | {PREFIX + "source_message_id": "7"}
PUBLISHED = MESSAGE | {PREFIX + "first_at": (AT - HOUR).isoformat()}
LATER_PUBLISHED = MESSAGE | {PREFIX + "first_at": AT.isoformat()}
REPLAYED = (HistoryEntry(HistoryKind.REPLAY, AT - HOUR),)


@pytest.mark.parametrize(
    ("known", "letters", "at", "says"),
    [
        (DEAD, casualty(PUBLISHED), AT - HOUR, "by the ingress at 2026-03-04 04:06:07Z, as its dead letter tells"),
        (DEAD, casualty(LATER_PUBLISHED), None, "nobody notes when; by a replay or the reconciler at 2026-03-04 05:06"),
        (record(history=REPLAYED), casualty(PUBLISHED), None, "by a replay or the reconciler at 2026-03-04 04:06"),
        (DEAD, casualty(MESSAGE | {PREFIX + "first_at": "yesterday"}), None, "right after the commit"),
        (DEAD, casualty(PUBLISHED | {PREFIX + "source_message_id": ""}), None, "right after the commit"),
        (record(republished_at=AT), None, None, "by the reconciler last at 2026-03-04 05:06:07Z"),
        (record(republished_at=AT), casualty(PUBLISHED), AT - HOUR, "tells; by the reconciler last at"),
        (record(republished_at=AT, republished=3), None, None, "05:06:07Z, 3 times so far"),
        (record(forward_to_statsig=False), None, None, "never"),
    ],
)
def test_when_an_event_was_published_is_told_as_far_as_it_is_known(
    known: Record, letters: Casualty | None, at: datetime | None, says: str
) -> None:
    found = publication(known, letters)

    assert found.at == at
    assert says in found.sentence


@pytest.mark.parametrize(
    ("known", "at"),
    [
        (record(attempts=0), None),
        (record(attempts=2, history=(FIRST, LATER)), AT),
        (record(attempts=2, history=(HistoryEntry(HistoryKind.TAKE_OVER, AT - HOUR), FIRST, LATER)), AT),
        (record(attempts=3, history=(FIRST, LATER)), None),
    ],
)
def test_the_first_attempt_is_told_while_the_history_has_it(known: Record, at: datetime | None) -> None:
    assert first_attempt_at(known) == at


def worker(seconds_ago: float, **fields: Any) -> SeenWorker:
    state = WorkerState("6cf56cc8-4ae1-4405-bc63-97157a1b5c23", "1.2.3", AT, **fields)
    return SeenWorker(state, timedelta(seconds=seconds_ago))


RUNS = worker(9)
OPEN = worker(29, circuit_reason="http_503", circuit_since=AT)
SILENT = worker(31)
STOPPED = worker(5, is_stopped=True)


def test_a_worker_runs_until_it_stopped_or_told_nothing_for_30_seconds() -> None:
    assert running([STOPPED, RUNS, OPEN, SILENT]) == [RUNS, OPEN]


def test_each_worker_is_shown_with_its_circuit() -> None:
    heading, closed, opened = worker_lines([RUNS, OPEN])

    assert heading.split() == ["Workers", "2"]
    assert closed.endswith("circuit closed")
    assert opened.endswith("circuit open since 2026-03-04 05:06:07Z: http_503")
    assert [worker_as_dict(each)["circuit"] for each in (RUNS, OPEN)] == ["closed", "open"]
    assert "none seen within 30s" in "".join(worker_lines([]))


@pytest.mark.parametrize(
    ("seen", "verdict", "says"),
    [
        ([RUNS], Verdict.OK, "1 seen within 30s"),
        ([RUNS, OPEN], Verdict.OK, "2 seen within 30s; circuit open since"),
        ([], Verdict.WRONG, "none seen within a day"),
        ([STOPPED, SILENT], Verdict.WRONG, "the last was seen 5s ago, it was stopped"),
        ([SILENT], Verdict.WRONG, "the last was seen 31s ago, it told nothing since"),
    ],
)
def test_the_doctor_finds_that_no_worker_runs(seen: list[SeenWorker], verdict: Verdict, says: str) -> None:
    finding = worker_finding(seen)

    assert finding.verdict is verdict
    assert says in finding.detail
    assert bool(finding.to_do) is (verdict is Verdict.WRONG)


def test_what_a_terminal_would_obey_is_not_printed() -> None:
    assert clean("a\x1b[31mb\nc\u202e") == "a\ufffd[31mb\ufffdc\ufffd"


def test_a_bar_shows_anything_at_all() -> None:
    assert [len(bar(value, 1000, 10)) for value in (0, 1, 500, 1000)] == [0, 1, 5, 10]


def test_settings_of_subscriptions_that_lose_or_hide_messages_are_found() -> None:
    good = Subscription(
        topic="t",
        ack_deadline_seconds=10,
        retry_policy=RetryPolicy(minimum_backoff=timedelta(seconds=10)),
        dead_letter_policy=DeadLetterPolicy(dead_letter_topic="d", max_delivery_attempts=100),
        expiration_policy=ExpirationPolicy(),
    )
    bad = Subscription(
        topic="other", filter="x", dead_letter_policy=DeadLetterPolicy(dead_letter_topic="d", max_delivery_attempts=5),
        expiration_policy=ExpirationPolicy(ttl=timedelta(days=31)),
    )  # fmt: skip
    holding = Subscription(topic="d", message_retention_duration=timedelta(days=7))

    assert list(forward_problems(good, topic="t", dead_letter_topic="d")) == []
    assert len(list(forward_problems(bad, topic="t", dead_letter_topic="d"))) == 6
    assert list(dead_letter_problems(holding, topic="d")) == []
    assert len(list(dead_letter_problems(good, topic="d"))) == 4


COMMANDS = [
    ["dead-letters", "list"], ["dead-letters", "show"], ["dead-letters", "replay"],
    ["trace"], ["account"], ["watch"], ["reconcile"], ["log"], ["doctor"],
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself_with_an_example_and_speaks_json(command: list[str]) -> None:
    text = CliRunner().invoke(app, [*command, "--help"]).output

    assert f"nest-events {' '.join(command)}" in text
    assert "--json" in text


@pytest.mark.parametrize("command", ["list", "replay"])
def test_list_and_replay_take_the_same_filters(command: str) -> None:
    text = CliRunner().invoke(app, ["dead-letters", command, "--help"]).output

    for each in fields(Filters):
        assert f"--{each.name.replace('_', '-')} " in text


def test_exit_codes_are_documented() -> None:
    text = CliRunner().invoke(app, ["--help"]).output

    assert all(f"\n    {code:<5}" in text for code in (0, 1, 2, 3, 130))


@pytest.mark.parametrize(
    ("cause", "says"),
    [
        (google.PermissionDenied("no"), "this identity may not"),
        (google.NotFound("no"), "does not exist under this name"),
        (google.ServiceUnavailable("no"), "cannot be reached"),
    ],
)
def test_a_refusal_of_google_is_one_line_that_says_what_to_do(
    cause: Exception, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    error = SubscriptionUnavailableError("Pub/Sub did not take the pull")
    error.__cause__ = cause

    assert failed(error) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line
