"""`/audit`: what operators changed, from the audit trail."""

from datetime import UTC, datetime
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from worker.operators.console.forms import given
from worker.operators.console.site import Site
from worker.operators.terminal.durations import parse_moment

LISTED: Final = 200
SINCE: Final = "30d"


def routes(site: Site) -> list[Route]:
    async def audit(request: Request) -> Response:
        since = given(request.query_params, "since") or SINCE
        begin = parse_moment(since, now=datetime.now(UTC))
        entries = await site.connections.audit_trail.latest(since=begin, limit=LISTED)
        return site.pages.page(request, "audit.html", entries=entries, since=since, is_cut=len(entries) == LISTED)

    return [Route("/audit", audit)]
