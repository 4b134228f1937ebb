"""`/dead-letters/replay`: the dry run of `nest-events dead-letters replay`, its confirmation, and its progress."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from worker.operators.console import dead_letters
from worker.operators.console.forms import Form, action, filters_in, given, wish_of
from worker.operators.console.replays import Run, Stage
from worker.operators.console.site import Site
from worker.operators.dead_letters.choosing import Chosen, ReplayWish, choose, note_replay, quarantined_among
from worker.operators.dead_letters.forecast import EXPLAINED, Outcome, histogram
from worker.operators.dead_letters.replay import QUARANTINED_SHOWN
from worker.operators.exit_codes import UnknownError, UsageError

REFRESH_SECONDS: Final = 1
"""While a replay runs. Its progress is in this process, and costs no call."""

FIELDS: Final = {
    **dead_letters.FILTERS, "event_id": "Event id", "from_rows": "", "limit": "", "rate": "", "max_replays": "",
}  # fmt: skip
"""What a dry run is asked with, and a confirmation repeats."""

MORE_NOW: Final = "More events match than you were shown. Look at this dry run, and confirm again."


def routes(site: Site) -> list[Route]:
    """Long because each answer is a function in it, over the site."""

    async def dry_run(request: Request) -> Response:
        now = datetime.now(UTC)
        wish = wish_of(request.query_params, now=now)
        chosen = await choose(site.connections, wish)
        note_replay(wish, chosen, dry_run=True)
        return await _show(site, request, request.query_params, wish, chosen, seen_at=now)

    async def confirm(request: Request, form: Form) -> Response:
        seen_at, shown = _seen(form)
        wish = as_it_was_seen(wish_of(form, now=seen_at), seen_at)
        if (running := site.replays.running) is not None:
            return RedirectResponse(f"/replays/{running.run_id}", status_code=303)
        chosen = await choose(site.connections, wish)
        if len(chosen.jobs) > shown:
            now = datetime.now(UTC)
            wish = wish_of(form, now=now)
            chosen = await choose(site.connections, wish)
            return await _show(site, request, form, wish, chosen, seen_at=now, notice=MORE_NOW)
        # Another confirmation may have come while this one was choosing.
        run = site.replays.running or site.replays.start(wish, chosen)
        return RedirectResponse(f"/replays/{run.run_id}", status_code=303)

    async def progress(request: Request) -> Response:
        run = _run(site, request)
        return site.pages.page(
            request,
            "progress.html",
            refresh_seconds=REFRESH_SECONDS if run.stage is Stage.RUNNING else 0,
            run=run,
            outcomes=[(outcome.value, reason, count, EXPLAINED[outcome]) for outcome, reason, count in run.outcomes],
        )

    async def stop(request: Request, _: Form) -> Response:
        run = _run(site, request)
        run.scope.cancel()
        return RedirectResponse(f"/replays/{run.run_id}", status_code=303)

    async def runs(request: Request) -> Response:
        return site.pages.page(request, "runs.html", runs=site.replays.latest)

    return [
        Route("/dead-letters/replay", dry_run),
        action("/dead-letters/replay", site, confirm),
        Route("/replays", runs),
        Route("/replays/{run_id}", progress),
        action("/replays/{run_id}/stop", site, stop),
    ]


def as_it_was_seen(wish: ReplayWish, seen_at: datetime) -> ReplayWish:
    """The wish without events that died after the dry run was shown."""
    until = wish.choice.dead_until
    return replace(wish, choice=replace(wish.choice, dead_until=seen_at if until is None else min(until, seen_at)))


def _seen(form: Form) -> tuple[datetime, int]:
    """When the dry run was shown that is confirmed, and how many events it would have acted on."""
    try:
        seen_at, shown = datetime.fromisoformat(form["seen_at"]), int(form["shown"])
    except (KeyError, ValueError):
        raise UsageError("this is not the form of a dry run") from None
    if seen_at.tzinfo is None:
        raise UsageError("this is not the form of a dry run")
    return seen_at, shown


def _run(site: Site, request: Request) -> Run:
    run = site.replays.of(request.path_params["run_id"])
    if run is None:
        raise UnknownError("this console knows no such replay; the audit line of an earlier one is on its terminal")
    return run


async def _show(
    site: Site,
    request: Request,
    query: QueryParams,
    wish: ReplayWish,
    chosen: Chosen,
    *,
    seen_at: datetime,
    notice: str | None = None,
) -> Response:
    counts: Mapping[Outcome, int] = Counter(chosen.outcomes.values())
    worn_out = [event_id for event_id, outcome in chosen.outcomes.items() if outcome is Outcome.QUARANTINED]
    by_reason = histogram((outcome, chosen.reasons[event_id]) for event_id, outcome in chosen.outcomes.items())
    values: dict[str, Any] = {
        "wish": wish,
        "events": len(chosen.outcomes),
        "to_act_on": len(chosen.jobs),
        "outcomes": [(outcome.value, reason, count, EXPLAINED[outcome]) for outcome, reason, count in by_reason],
        "sum_of": [(counts[outcome], outcome.value) for outcome in Outcome if counts[outcome]],
        "quarantined": await quarantined_among(site.connections, worn_out[:QUARANTINED_SHOWN]),
        "more_quarantined": max(0, len(worn_out) - QUARANTINED_SHOWN),
        "running": site.replays.running,
    }
    return site.pages.page(
        request,
        "replay.html",
        code=200 if notice is None else 409,
        notice=notice,
        seen_at=seen_at,
        query={name: given(query, name) or "" for name in FIELDS},
        filters=dead_letters.FILTERS,
        fields=filters_in(query, FIELDS),
        **values,
    )
