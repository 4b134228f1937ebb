"""The pure parts of the operators' commands: filters, the forecast of a replay, event status and publish times.

One module, although a long one: nearly all of it are tables of cases.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.events import forward_message
from shared.events.attempt_history import HistoryEntry, HistoryKind
from shared.events.dead_letter_table import DeadLetterRow, DeadLetterSummary, LetterKind
from shared.events.forward_ledger import LEDGER_RETENTION, ForwardState
from shared.events.replay_ledger import ReopenOutcome, ReopenResult
from tests.support.sample_events import sample_event
from worker.dead_letter_messages import poison_subject, read_dead_letter
from worker.dead_letter_publisher import PREFIX
from worker.operators.dead_letters.filters import Filters
from worker.operators.dead_letters.forecast import Outcome, forecast, histogram, outcome_of
from worker.operators.dead_letters.selection import Selection, read_ids, selection
from worker.operators.events.event_status import event_status
from worker.operators.events.publish_times import first_attempt_at, publish_times
from worker.operators.events.records import Record
from worker.operators.exit_codes import UsageError
from worker.subscription import ReceivedMessage

AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
HOUR = timedelta(hours=1)
REASONED = {PREFIX + "reason": "http_400", PREFIX + "last_at": (AT - HOUR).isoformat()}


def letters(attributes: dict[str, str] = REASONED) -> list[DeadLetterRow]:
    message = forward_message.encode(sample_event())
    return [read_dead_letter(ReceivedMessage("ack", "1", message.data, message.attributes | attributes, AT, 0))]


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
    ("choice", "taken"),
    [
        (Selection(), True),
        (Selection(reasons=frozenset({"http_400", "native"})), True),
        (Selection(reasons=frozenset({"native"})), False),
        (Selection(event_names=frozenset({"order_paid"})), True),
        (Selection(event_names=frozenset({"order"})), False),
        (Selection(callers=frozenset({"a@example.com"})), True),
        (Selection(callers=frozenset({"b@example.com"})), False),
        (Selection(dead_until=AT - HOUR), True),
        (Selection(dead_until=AT - HOUR * 2), False),
        (Selection(dead_after=AT - HOUR * 2), True),
        (Selection(dead_after=AT - HOUR), False),
        (Selection(ids=frozenset({"e"})), True),
        (Selection(ids=frozenset({"other"})), False),
        (Selection(reasons=frozenset({"http_400"}), callers=frozenset({"b@example.com"})), False),
    ],
)
def test_letters_and_rows_are_chosen_alike_by_every_filter_that_is_set(choice: Selection, taken: bool) -> None:
    letter = DeadLetterSummary(
        subject="e",
        message_id="1",
        kind=LetterKind.REASONED,
        reason="http_400",
        dead_at=AT - HOUR,
        event_id="e",
        event_name="order_paid",
        caller="a@example.com",
    )

    assert choice.of_letters().takes(letter) is taken
    assert choice.takes_row(DEAD) is taken


def test_an_id_names_an_event_or_poison_by_its_message() -> None:
    assert Selection(ids=frozenset({"m-9"})).of_letters().subjects == {"m-9", poison_subject("m-9")}


def test_ages_and_times_of_filters_are_told_from_now() -> None:
    chosen = selection(Filters(older_than="1h", younger_than="2026-03-04T01:00Z"), now=AT)

    assert (chosen.dead_until, chosen.dead_after) == (AT - HOUR, datetime(2026, 3, 4, 1, tzinfo=UTC))
    assert chosen.as_dict() == {"dead_until": "2026-03-04 04:06:07Z", "dead_after": "2026-03-04 01:00:00Z"}


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
        selection(Filters(older_than="2h", younger_than="1h"), now=AT)


@pytest.mark.parametrize(
    ("known", "outcome"),
    [
        (None, Outcome.MISSING),
        (record(state=None), Outcome.MISSING),
        (record(state=ForwardState.DELIVERED), Outcome.DELIVERED),
        (record(state=ForwardState.PENDING), Outcome.SENT_AGAIN),
        (record(state=ForwardState.PENDING, claimed_until=AT - HOUR), Outcome.SENT_AGAIN),
        (record(state=ForwardState.PENDING, claimed_until=AT + HOUR), Outcome.IN_WORK),
        (record(state=ForwardState.PENDING, given_up_reason="http_400", replays=2), Outcome.SENT),
        (record(state=ForwardState.PENDING, given_up_reason="http_400", replays=3), Outcome.QUARANTINED),
        (record(state=ForwardState.PENDING, given_up_reason="http_400", claimed_until=AT + HOUR), Outcome.IN_WORK),
        (record(state=ForwardState.DEAD, replays=2), Outcome.SENT),
        (record(state=ForwardState.DEAD, replays=3), Outcome.QUARANTINED),
    ],
)
@pytest.mark.parametrize("kind", [LetterKind.REASONED, LetterKind.NATIVE, None])
def test_what_a_replay_would_do_is_foreseen(known: Record | None, kind: LetterKind | None, outcome: Outcome) -> None:
    assert forecast(kind, None if known is None else known.ledger_state, max_replays=3) is outcome


def test_poison_is_never_replayed() -> None:
    assert forecast(LetterKind.POISON, DEAD.ledger_state, max_replays=3) is Outcome.POISON


@pytest.mark.parametrize(
    ("found", "is_retried", "outcome"),
    [
        (ReopenResult("e", ReopenOutcome.REOPENED, had_letter=True), False, Outcome.SENT),
        (ReopenResult("e", ReopenOutcome.REOPENED), False, Outcome.SENT),
        (ReopenResult("e", ReopenOutcome.PENDING, had_letter=True), False, Outcome.SENT_AGAIN),
        (ReopenResult("e", ReopenOutcome.PENDING), False, Outcome.TAKEN),
        (ReopenResult("e", ReopenOutcome.PENDING), True, Outcome.SENT_AGAIN),
        (ReopenResult("e", ReopenOutcome.IN_FLIGHT), False, Outcome.IN_WORK),
        (ReopenResult("e", ReopenOutcome.DELIVERED), False, Outcome.DELIVERED),
        (ReopenResult("e", ReopenOutcome.QUARANTINED), False, Outcome.QUARANTINED),
        (ReopenResult("e", ReopenOutcome.MISSING), False, Outcome.MISSING),
    ],
)
def test_what_another_replay_had_is_left_to_it(found: ReopenResult, is_retried: bool, outcome: Outcome) -> None:
    assert outcome_of(found, is_retried=is_retried) is outcome


def test_the_histogram_is_in_the_outcomes_order() -> None:
    rows = histogram([(Outcome.POISON, "x"), (Outcome.SENT, "b"), (Outcome.SENT, "a"), (Outcome.SENT, "a")])

    assert rows == [(Outcome.SENT, "a", 2), (Outcome.SENT, "b", 1), (Outcome.POISON, "x", 1)]


@pytest.mark.parametrize(
    ("known", "has_dead_letter", "says", "is_well"),
    [
        (record(state=None, forward_to_statsig=False), False, "was not to be forwarded", True),
        (
            record(state=None, forward_to_statsig=False, ingested_at=AT - LEDGER_RETENTION),
            False,
            "Whether it was forwarded later is not known",
            True,
        ),
        (
            record(state=ForwardState.DELIVERED, forward_to_statsig=False),
            False,
            "It was stored only at first, and an operator had it forwarded later. Statsig has it.",
            True,
        ),
        (record(state=ForwardState.PENDING, forward_to_statsig=False), False, "no worker has tried", False),
        (record(state=None), False, "has no ledger row", False),
        (record(state=ForwardState.DELIVERED), False, "Statsig has it.", True),
        (
            record(state=ForwardState.DELIVERED, possible_duplicates=2),
            False,
            "up to 2 more copies, from 2 attempts",
            True,
        ),
        (record(state=ForwardState.DELIVERED), True, "an earlier dead letter is still open", True),
        (record(state=ForwardState.PENDING), False, "no worker has tried", False),
        (record(state=ForwardState.PENDING, last_reason="http_503"), False, "ended with http_503", False),
        (record(state=ForwardState.PENDING, claimed_until=AT + HOUR), False, "right now", True),
        (record(state=ForwardState.PENDING, not_before=AT + HOUR, last_reason="http_500"), False, "again in 1h", False),
        (
            record(state=ForwardState.PENDING, not_before=AT, last_reason="http_500"),
            False,
            "ended with http_500",
            False,
        ),
        (record(state=ForwardState.PENDING), True, "has an open dead letter", False),
        (
            record(state=ForwardState.PENDING, given_up_reason="http_400"),
            True,
            "is not sent any more (http_400): a worker gave it up",
            False,
        ),
        (
            record(state=ForwardState.PENDING, given_up_reason="http_400", claimed_until=AT + HOUR),
            False,
            "a worker is dead-lettering it",
            False,
        ),
        (
            record(state=ForwardState.PENDING, replays=1, pending_since=AT),
            False,
            "was replayed once, last 0s ago",
            False,
        ),
        (DEAD, True, "dead-lettered with http_400 after 1 attempt; its dead letter is open", False),
        (DEAD, False, "its dead letter is not in Spanner", False),
        (record(state=ForwardState.DEAD, replays=3), True, "quarantined", False),
    ],
)
def test_one_sentence_says_where_an_event_is(known: Record, has_dead_letter: bool, says: str, is_well: bool) -> None:
    status = event_status(known, has_dead_letter=has_dead_letter)

    assert says in status.sentence
    assert status.is_well is is_well
    assert status.advice


FIRST, LATER = (HistoryEntry(HistoryKind.ATTEMPT, AT + HOUR * n, "transient", "http_503", 503) for n in (0, 1))
MESSAGE = REASONED | {PREFIX + "source_message_id": "7"}
PUBLISHED = MESSAGE | {PREFIX + "first_at": (AT - HOUR).isoformat()}
LATER_PUBLISHED = MESSAGE | {PREFIX + "first_at": AT.isoformat()}
REPLAYED = (HistoryEntry(HistoryKind.REPLAY, AT - HOUR),)
LATE = (HistoryEntry(HistoryKind.FORWARD, AT - HOUR), FIRST)


@pytest.mark.parametrize(
    ("known", "found", "at", "says"),
    [
        (DEAD, letters(PUBLISHED), AT - HOUR, "by the ingress at 2026-03-04 04:06:07Z (from its dead letter)"),
        (DEAD, letters(LATER_PUBLISHED), None, "is not recorded; by a replay or the reconciler at 2026-03-04 05:06"),
        (record(history=REPLAYED), letters(PUBLISHED), None, "by a replay or the reconciler at 2026-03-04 04:06"),
        (DEAD, letters(MESSAGE | {PREFIX + "first_at": "yesterday"}), None, "right after the commit"),
        (DEAD, letters(PUBLISHED | {PREFIX + "source_message_id": ""}), None, "right after the commit"),
        (record(republished_at=AT), [], None, "by the reconciler, last at 2026-03-04 05:06:07Z"),
        (record(republished_at=AT), letters(PUBLISHED), AT - HOUR, "letter); by the reconciler, last at"),
        (record(republished_at=AT, republished=3), [], None, "05:06:07Z, 3 times so far"),
        (record(forward_to_statsig=False), [], None, "never"),
        (
            record(forward_to_statsig=False, state=ForwardState.PENDING, history=LATE, republished_at=AT),
            letters(PUBLISHED),
            None,
            "by `nest-events forward` at 2026-03-04 04:06:07Z; by the reconciler, last at 2026-03-04 05:06:07Z",
        ),
        (
            record(forward_to_statsig=False, state=ForwardState.DELIVERED, history=(FIRST,)),
            [],
            None,
            "by `nest-events forward`",
        ),
    ],
)
def test_when_an_event_was_published_is_told_as_far_as_it_is_known(
    known: Record, found: list[DeadLetterRow], at: datetime | None, says: str
) -> None:
    published = publish_times(known, found)

    assert published.at == at
    assert says in published.sentence


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
