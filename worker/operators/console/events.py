"""`/events`: finds events, and tells one event's story, as `nest-events trace` and `dead-letters show` do."""

from collections.abc import Sequence
from typing import Any, Final

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from shared.events.dead_letter_table import DeadLetterRow
from shared.events.forward_ledger import ForwardState
from worker.operators.console.forms import given
from worker.operators.console.rendering import segment
from worker.operators.console.site import Site
from worker.operators.console.story import steps
from worker.operators.dead_letters.forecast import EXPLAINED
from worker.operators.dead_letters.showing import described, on_replay
from worker.operators.events.event_status import EventStatus, event_status
from worker.operators.events.finding import TraceQuery, event_id_of, ids_asked_for, search_events
from worker.operators.events.records import Record
from worker.operators.events.trace import story_of
from worker.operators.exit_codes import UnknownError
from worker.operators.options import MAX_REPLAYS

LIMIT: Final = 50
"""As `trace --limit` by default."""

REFRESH_SECONDS: Final = 5
"""While the event is pending. What is settled stays as it is."""

NOT_AMONG_FACTS: Final = frozenset(
    {"dead_letters", "history", "attempts_without_history", "now", "to_do", "is_well", "published", "event_name"}
)
"""Fields of a story that have a place of their own."""


def routes(site: Site) -> list[Route]:
    async def find(request: Request) -> Response:
        query = request.query_params
        if (event_id := given(query, "event_id")) is not None:
            return RedirectResponse(f"/events/{segment(event_id_of(event_id))}", status_code=303)
        asked = _asked(query)
        answer: dict[str, Any] = {"rows": None, "is_cut": False, "limit": LIMIT}
        if asked.key is not None:
            found = await site.connections.records.of(ids_asked_for(asked))
            if len(found) == 1:
                return RedirectResponse(f"/events/{segment(*found)}", status_code=303)
            letters = await site.connections.dead_letters.of(list(found))
            answer |= {"rows": _rows(list(found.values()), letters)}
        elif asked.is_search:
            results = await search_events(site.connections, asked)
            answer |= {"rows": _rows(results.records, results.letters), "is_cut": results.is_cut}
        return site.pages.page(request, "find.html", asked=asked, **answer)

    async def event(request: Request) -> Response:
        event_id = event_id_of(request.path_params["event_id"])
        record = (await site.connections.records.of([event_id])).get(event_id)
        letters = (await site.connections.dead_letters.of([event_id])).get(event_id, [])
        if record is None:
            if not letters:
                raise UnknownError(f"no event '{event_id}': nothing was committed under this id")
            return site.pages.page(request, "letter.html", subject=event_id, **_letter(letters, None))
        story = await story_of(site.connections, record, letters)
        is_open = record.state is ForwardState.PENDING
        return site.pages.page(
            request,
            "event.html",
            refresh_seconds=REFRESH_SECONDS if is_open else 0,
            story=story,
            state=None if record.state is None else record.state.value.lower(),
            steps=steps(story),
            facts_of={name: value for name, value in story.items() if name not in NOT_AMONG_FACTS},
            **(_letter(letters, record) if letters else {"letter": None, "on_replay": None}),
        )

    return [Route("/events", find), Route("/events/{event_id}", event)]


def _asked(query: QueryParams) -> TraceQuery:
    return TraceQuery(
        event_ids=(),
        key=given(query, "key"),
        identity=given(query, "identity") or "",
        event_name=given(query, "event_name"),
        # An actor id has no place in an address, which browsers keep.
        actor=None,
        caller=given(query, "caller"),
        request_id=given(query, "request_id"),
        since=given(query, "since") or "24h",
        until=given(query, "until") or "0s",
        limit=LIMIT,
    )


def _rows(records: Sequence[Record], letters: dict[str, list[DeadLetterRow]]) -> list[tuple[Record, EventStatus]]:
    """Each event, and where it is now."""
    return [
        (record, event_status(record, has_dead_letter=any(each.is_open for each in letters.get(record.event_id, ()))))
        for record in records
    ]


def _letter(letters: Sequence[DeadLetterRow], record: Record | None) -> dict[str, Any]:
    """The dead letters with what is in the latest one, and what a replay would do."""
    outcome = on_replay(letters, record, max_replays=MAX_REPLAYS)
    return {
        "letter": described(letters, record),
        "on_replay": "nothing, it is closed" if outcome is None else EXPLAINED[outcome],
    }
