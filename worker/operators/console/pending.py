"""`/pending`: the events that have been pending the longest, by what holds them up."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shared.events.rules import Match
from worker.operators.console.charts import shares
from worker.operators.console.forms import filters_in, given
from worker.operators.console.overview import REFRESH_SECONDS, latest_snapshot
from worker.operators.console.site import Site
from worker.operators.state.asking import Unknown
from worker.operators.state.pending import Oldest, PendingEvent, is_held

LISTED: Final = 100
"""Events listed one by one. `status` reads the oldest two thousand, and the filters choose among those."""

FILTERS: Final = {"reason": "Last attempt", "event_name": "Event name", "caller": "Caller", "waiting": "How it waits"}

IN_FLIGHT: Final = "in flight"
SET_ASIDE: Final = "set aside"
HELD: Final = "held by a rule"
WAITING: Final = "waiting"
HOW: Final = (IN_FLIGHT, SET_ASIDE, HELD, WAITING)


def routes(site: Site) -> list[Route]:
    async def pending(request: Request) -> Response:
        snapshot = await latest_snapshot(site)
        query = request.query_params
        events = [] if isinstance(snapshot.oldest, Unknown) else chosen(snapshot.oldest.events, query, snapshot.held_by)
        every = Oldest((), are_all=True) if isinstance(snapshot.oldest, Unknown) else snapshot.oldest
        return site.pages.page(
            request,
            "pending.html",
            refresh_seconds=REFRESH_SECONDS,
            at=snapshot.at,
            oldest=snapshot.oldest,
            is_known=not isinstance(snapshot.oldest, Unknown),
            rows=[(each, how(each, snapshot.held_by)) for each in events[:LISTED]],
            matching=len(events),
            filters=FILTERS,
            query={name: given(query, name) or "" for name in FILTERS},
            fields=filters_in(query, FILTERS),
            offered={
                "reason": list(every.by_reason()),
                "event_name": list(every.by_name()),
                "caller": list(every.by_caller()),
                "waiting": list(HOW),
            },
            charts=[
                ("Why they wait", "reason", shares(Counter(reason(each) for each in events))),
                ("By event name", "event_name", shares(Counter(each.event_name for each in events))),
                ("By caller", "caller", shares(Counter(caller(each) for each in events))),
            ],
        )

    return [Route("/pending", pending)]


def chosen(events: Sequence[PendingEvent], query: QueryParams, held_by: Sequence[Match]) -> list[PendingEvent]:
    """The events that have every value that is set, the oldest first. `held_by` are the rules that hold events."""
    asked = {name: given(query, name) for name in FILTERS}
    of: dict[str, Callable[[PendingEvent], str]] = {
        "reason": reason,
        "event_name": lambda each: each.event_name,
        "caller": caller,
        "waiting": lambda each: how(each, held_by),
    }
    wanted = [(of[name], value) for name, value in asked.items() if value is not None]
    return [each for each in events if all(get(each) == value for get, value in wanted)]


def reason(event: PendingEvent) -> str:
    """As `Oldest` counts it."""
    return next(iter(Oldest((event,), are_all=True).by_reason()))


def caller(event: PendingEvent) -> str:
    """As `Oldest` counts it."""
    return next(iter(Oldest((event,), are_all=True).by_caller()))


def how(event: PendingEvent, held_by: Sequence[Match]) -> str:
    if event.is_in_flight:
        return IN_FLIGHT
    if event.is_set_aside:
        return SET_ASIDE
    return HELD if is_held(event, held_by) else WAITING
