"""One event's story: what happened to it, in the order of time. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from shared.events.attempt_history import HistoryKind
from shared.events.forward_ledger import ForwardState
from worker.operators.events.history import EXPLAINED

GOOD: Final = "good"
BAD: Final = "bad"
WAITS: Final = "waits"
PLAIN: Final = "plain"

_VERDICTS: Final = {"confirmed": GOOD, "rejected": BAD}
_SETTLED: Final = {ForwardState.DELIVERED: ("Delivered", GOOD), ForwardState.DEAD: ("Dead", BAD)}


@dataclass(frozen=True, slots=True)
class Step:
    title: str
    detail: str
    tone: str
    at: datetime | None = None
    """None where the time is not recorded; the step then stands where it belongs."""


def steps(document: dict[str, Any]) -> list[Step]:
    """The steps of a document of `trace`, the first first."""
    accepted = f"from {document['caller']}" if document["caller"] else "from a caller without an identity"
    beginning = [Step("Accepted", accepted, PLAIN, document["ingested_at"])]
    if document["published_at"] is None or not document["forward_to_statsig"]:
        beginning.append(Step("Published", document["published"], PLAIN))
    timed = [each for each in _later(document) if each.at is not None]
    return beginning + sorted(timed, key=lambda each: each.at or document["ingested_at"])


def _later(document: dict[str, Any]) -> Iterator[Step]:
    if document["published_at"] is not None:
        yield Step("Published", document["published"], PLAIN, document["published_at"])
    for entry in document["history"]:
        yield _of_history(entry)
    if document["republished_at"] is not None:
        yield Step("Published again", "by the reconciler", PLAIN, document["republished_at"])
    for letter in document["dead_letters"]:
        closed = f", closed since: {letter['closed_by']}" if letter["closed_by"] else ""
        yield Step("Dead letter", f"{letter['reason']} ({letter['kind']}){closed}", BAD, letter["dead_at"])
    if document["state"] in _SETTLED:
        title, tone = _SETTLED[document["state"]]
        yield Step(title, f"with {document['last_reason'] or 'no reason noted'}", tone, document["settled_at"])


def _of_history(entry: dict[str, Any]) -> Step:
    kind = HistoryKind(entry["kind"])
    if kind is HistoryKind.ATTEMPT:
        words = [entry["reason"], entry["answer"] and f"Statsig's words: {entry['answer']}"]
        detail = "; ".join(str(each) for each in words if each)
        return Step(f"Attempt: {entry['verdict']}", detail, _VERDICTS.get(entry["verdict"], WAITS), entry["at"])
    return Step(kind.value.replace("_", "-").capitalize(), EXPLAINED[kind], WAITS, entry["at"])
