"""`/dead-letters`: what `nest-events dead-letters list` and `show` say."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from shared.events.dead_letter_table import DeadLetterSummary, LetterKind, Mismatch
from worker.operators.console.charts import shares
from worker.operators.console.forms import filters_in, given, selection_of
from worker.operators.console.rendering import segment
from worker.operators.console.site import Site
from worker.operators.dead_letters.forecast import EXPLAINED
from worker.operators.dead_letters.listing import ask_summary, mismatch_lines
from worker.operators.dead_letters.showing import ask_letters, described, on_replay
from worker.operators.exit_codes import UsageError
from worker.operators.options import MAX_REPLAYS

PER_PAGE: Final = 50

FILTERS: Final = {
    "reason": "Reason",
    "event_name": "Event name",
    "caller": "Caller",
    "older_than": "Dead for at least",
    "younger_than": "Dead for less than",
}


def routes(site: Site) -> list[Route]:
    """Long because each answer is a function in it, over the site."""

    async def listed(request: Request) -> Response:
        query, now = request.query_params, datetime.now(UTC)
        newest = query.get("order") != "oldest"
        choice = selection_of(query, now=now)
        summary, letters = await ask_summary(
            site.connections, choice, now=now, limit=PER_PAGE, newest=newest, after=_after(query)
        )
        return site.pages.page(
            request,
            "dead_letters.html",
            summary=summary,
            newest=newest,
            next_page=_next_page(letters) if len(letters) == PER_PAGE else None,
            is_first_page=_after(query) is None,
            filters=FILTERS,
            query={name: given(query, name) or "" for name in FILTERS},
            fields=filters_in(query, FILTERS),
            at=now,
            pages=[(each, _page_of(each)) for each in letters],
            charts=[
                ("By reason", "reason", shares(summary["by_reason"])),
                ("By event name", "event_name", shares(summary["by_event_name"])),
                ("By caller", "caller", shares(summary["by_caller"])),
                ("By age", None, shares(summary["by_age"])),
            ],
            mismatches=list(mismatch_lines(Mismatch(summary["dead_without_letter"], summary["letters_without_dead"]))),
        )

    async def letter(request: Request) -> Response:
        letters, record = await ask_letters(site.connections, request.path_params["subject"])
        if record is not None:
            return RedirectResponse(f"/events/{segment(record.event_id)}", status_code=303)
        outcome = on_replay(letters, record, max_replays=MAX_REPLAYS)
        return site.pages.page(
            request,
            "letter.html",
            subject=request.path_params["subject"],
            letter=described(letters, record),
            on_replay="nothing, it is closed" if outcome is None else EXPLAINED[outcome],
        )

    return [Route("/dead-letters", listed), Route("/dead-letters/{subject}", letter)]


def _page_of(letter: DeadLetterSummary) -> str:
    """Poison has no event that could be looked up; the id in its attributes is unchecked."""
    if letter.kind is LetterKind.POISON:
        return f"/dead-letters/{segment(letter.message_id)}"
    return f"/events/{segment(letter.subject)}"


def _after(query: QueryParams) -> tuple[datetime, str] | None:
    """The last letter of the page before, from the address."""
    at, subject = given(query, "after"), given(query, "after_subject")
    if at is None or subject is None:
        return None
    try:
        after = datetime.fromisoformat(at)
    except ValueError:
        raise UsageError("this is not the address of a page of dead letters") from None
    if after.tzinfo is None:
        raise UsageError("this is not the address of a page of dead letters")
    return after, subject


def _next_page(letters: Sequence[DeadLetterSummary]) -> dict[str, Any]:
    return {"after": letters[-1].dead_at, "after_subject": letters[-1].subject}
