"""`/warnings`: whose events were warned of or refused, as `nest-events warnings` says it."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shared.events.complaints import ComplaintKind
from worker.operators.complaints.listing import NONE, ask_complaints, document
from worker.operators.console.forms import filters_in, given
from worker.operators.console.site import Site
from worker.operators.exit_codes import UsageError

LISTED: Final = 100
SINCE: Final = "24h"

FILTERS: Final = {"caller": "Caller", "event_name": "Event name", "since": "Since"}

KINDS: Final = {kind.value: kind for kind in ComplaintKind}


def routes(site: Site) -> list[Route]:
    async def warnings(request: Request) -> Response:
        query = request.query_params
        kind = given(query, "kind")
        if kind is not None and kind not in KINDS:
            raise UsageError(f"'{kind}' is not a kind: {', '.join(KINDS)}")
        choice, sums, _ = await ask_complaints(
            site.connections,
            since=given(query, "since") or SINCE,
            kind=None if kind is None else KINDS[kind],
            caller=given(query, "caller"),
            event_name=given(query, "event_name"),
            limit=LISTED,
        )
        return site.pages.page(
            request,
            "warnings.html",
            answer=document(choice, sums),
            nobody=NONE,
            filters=FILTERS,
            kinds=list(KINDS),
            kind=kind or "",
            query={name: given(query, name) or "" for name in FILTERS} | {"since": given(query, "since") or SINCE},
            fields=filters_in(query, {**FILTERS, "kind": ""}),
        )

    return [Route("/warnings", warnings)]
