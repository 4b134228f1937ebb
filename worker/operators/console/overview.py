"""`/`: what `nest-events status` and `account` say, with charts."""

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shared.process.process_states import Role
from worker.operators.console.charts import account_chart, shares
from worker.operators.console.kept import Kept
from worker.operators.console.site import ACCOUNT_HOURS, DayAccount, Site
from worker.operators.state.asking import Unknown
from worker.operators.state.processes import COUNTED
from worker.operators.state.snapshot import Snapshot
from worker.operators.state.status import as_dict
from worker.operators.state.verdict import judge

REFRESH_SECONDS: Final = 4

SNAPSHOT_WAIT_SECONDS: Final = 8.0
"""A snapshot takes about six seconds at most, where Spanner is silent."""

ACCOUNT_WAIT_SECONDS: Final = 1.5
"""A day of many events takes longer: the page then comes without it, and has it with a later refresh."""


def routes(site: Site) -> list[Route]:
    async def overview(request: Request) -> Response:
        snapshot = await latest_snapshot(site)
        account = await site.account.latest(wait_seconds=ACCOUNT_WAIT_SECONDS)
        return site.pages.page(
            request,
            "overview.html",
            refresh_seconds=REFRESH_SECONDS,
            account=_account(account),
            hours=ACCOUNT_HOURS,
            **_state(snapshot),
        )

    return [Route("/", overview)]


async def latest_snapshot(site: Site) -> Snapshot:
    """A snapshot of the last few seconds."""
    kept = await site.snapshot.latest(wait_seconds=SNAPSHOT_WAIT_SECONDS)
    # The first one is still being asked for: another question would not be answered sooner.
    while kept is None:
        kept = await site.snapshot.latest(wait_seconds=SNAPSHOT_WAIT_SECONDS)
    return kept.value


def _state(snapshot: Snapshot) -> dict[str, Any]:
    """The document of `status --json`, and its counts as charts."""
    document = as_dict(snapshot, judge(snapshot))
    oldest, dead = document["oldest"], document["dead"]
    return {
        "status": document,
        "rates": [_rate(document, role) for role in (Role.INGRESS, Role.WORKER)],
        "pending_charts": None
        if oldest is None
        else [
            ("Why they wait", "reason", shares(oldest["by_reason"])),
            ("By event name", "event_name", shares(oldest["by_name"])),
            ("By caller", "caller", shares(oldest["by_caller"])),
        ],
        "dead_chart": None if dead is None else shares({each["reason"]: each["events"] for each in dead}),
        "dead_events": None if dead is None else sum(each["events"] for each in dead),
    }


def _rate(document: dict[str, Any], role: Role) -> dict[str, Any]:
    """The rates of a role, or why there are none."""
    if document["processes"] is None:
        return {"role": role.value, "why": "not known", "per_second": None}
    running = sum(each["role"] == role.value for each in document["processes"])
    rate = document["rates"][role.value]
    if rate is None:
        return {"role": role.value, "why": "just started" if running else "none runs", "per_second": None}
    per_second = {name: rate[name] for name in COUNTED[role]}
    return {"role": role.value, "why": None, "per_second": per_second, "running": running, "seconds": rate["seconds"]}


def _account(kept: Kept[DayAccount | Unknown] | None) -> dict[str, Any]:
    if kept is None:
        return {"chart": None, "why": "The events of the last day are being counted."}
    if isinstance(kept.value, Unknown):
        return {"chart": None, "why": f"The account is {kept.value}."}
    day = kept.value
    return {"chart": account_chart(day.hours, until=day.until, count=ACCOUNT_HOURS), "at": day.until, "why": None}
