"""`/tail`: events as they come, as `nest-events tail` shows them."""

from typing import Final

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shared.events.forward_ledger import ForwardState
from worker.operators.console.forms import filters_in, given
from worker.operators.console.site import Site
from worker.operators.console.tails import KEPT
from worker.operators.events.tail_events import TailChoice
from worker.operators.exit_codes import UsageError

REFRESH_SECONDS: Final = 2
"""As the command's interval."""

FILTERS: Final = {"event_name": "Event name", "name_prefix": "Names beginning with", "caller": "Caller"}

STATES: Final = {state.value.lower(): state for state in ForwardState}


def routes(site: Site) -> list[Route]:
    async def tail(request: Request) -> Response:
        query = request.query_params
        seen = await site.tails.look(_choice(query))
        return site.pages.page(
            request,
            "tail.html",
            refresh_seconds=REFRESH_SECONDS,
            seen=seen,
            kept=KEPT,
            filters=FILTERS,
            states=list(STATES),
            state=given(query, "state") or "",
            query={name: given(query, name) or "" for name in FILTERS},
            fields=filters_in(query, {**FILTERS, "state": ""}),
        )

    return [Route("/tail", tail)]


def _choice(query: QueryParams) -> TailChoice:
    state = given(query, "state")
    if state is not None and state not in STATES:
        raise UsageError(f"'{state}' is not a state: {', '.join(STATES)}")
    return TailChoice(
        event_name=given(query, "event_name"),
        name_prefix=given(query, "name_prefix"),
        caller=given(query, "caller"),
        state=None if state is None else STATES[state],
    )
