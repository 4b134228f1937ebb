"""`/rules`: what `nest-events rules`, `pause`, `resume` and `probe` do, each with a page that asks before it acts."""

from dataclasses import dataclass
from typing import Any, Final

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from shared.events.rules import MATCHING, RuleAction
from worker.operators.console.forms import Form, action, filters_in, given
from worker.operators.console.site import Site
from worker.operators.exit_codes import UnknownError
from worker.operators.rules.adding import EXPLAINED, SOON, propose_rule, pull_lever, write_rule
from worker.operators.rules.drafting import MAX_WHY, RuleOptions
from worker.operators.rules.listing import state_of
from worker.operators.rules.removing import end_pauses, end_rules

FIELDS: Final = {
    "action": "Action",
    "event_name": "Event name",
    "name_prefix": "or names beginning with",
    "event_type": "Event type",
    "caller": "Caller's e-mail",
    "why": "Why",
    "lasts": "For",
}

ACTIONS: Final = {each.value.replace("_", "-"): EXPLAINED[each] for each in RuleAction if each in MATCHING}


@dataclass(frozen=True, slots=True)
class Lever:
    """Something for all workers at once."""

    title: str
    explained: str
    lasts: str | None
    """For how long, as it is offered; None where that is not asked."""


LEVERS: Final = {
    "pause": Lever("Pause forwarding", EXPLAINED[RuleAction.PAUSE], "1h"),
    "resume": Lever("Resume forwarding", "Every pause ends, and workers send again.", None),
    "probe": Lever("Probe Statsig now", EXPLAINED[RuleAction.PROBE], None),
}

PROBE_LASTS: Final = "1m"
"""As the command's: within it every worker has read the rule."""


def routes(site: Site) -> list[Route]:
    """Long because each answer is a function in it, over the site."""

    async def listed(request: Request) -> Response:
        with_ended = given(request.query_params, "all") is not None
        now = (await site.connections.rules.read()).at
        rules = [each for each in await site.connections.rules.history() if with_ended or each.is_active(now)]
        rows = [(each, state_of(each, now), each.is_active(now)) for each in rules]
        return site.pages.page(request, "rules.html", rows=rows, with_ended=with_ended, levers=LEVERS)

    async def dry_run(request: Request) -> Response:
        query = request.query_params
        rule, found = None, None
        if given(query, "action") is not None:
            rule, found = await propose_rule(site.connections, _options(query), yes=False)
        explained = None if rule is None else EXPLAINED[rule.action]
        return site.pages.page(
            request,
            "rule.html",
            rule=rule,
            found=found,
            explained=explained,
            soon=SOON,
            actions=ACTIONS,
            max_why=MAX_WHY,
            query={name: given(query, name) or "" for name in FIELDS},
            labels=FIELDS,
            fields=filters_in(query, FIELDS),
        )

    async def add(_: Request, form: Form) -> Response:
        rule, found = await propose_rule(site.connections, _options(form), yes=True)
        await write_rule(site.connections, rule, found)
        return _done()

    async def ask_to_remove(request: Request) -> Response:
        rule_id = request.path_params["rule_id"]
        read = await site.connections.rules.read()
        rule = next((each for each in read.rules if each.rule_id == rule_id and each.is_active(read.at)), None)
        if rule is None:
            raise UnknownError(f"no active rule '{rule_id}'")
        return site.pages.page(request, "remove.html", rule=rule, state=state_of(rule, read.at), soon=SOON)

    async def remove(request: Request, form: Form) -> Response:
        await end_rules(site.connections, [request.path_params["rule_id"]], why=given(form, "why") or "")
        return _done()

    return [
        Route("/rules", listed),
        Route("/rules/new", dry_run),
        action("/rules/new", site, add),
        *_levers(site),
        Route("/rules/{rule_id}/remove", ask_to_remove),
        action("/rules/{rule_id}/remove", site, remove),
    ]


def _levers(site: Site) -> list[Route]:
    async def ask(request: Request) -> Response:
        name = request.path_params["lever"]
        if name not in LEVERS:
            raise UnknownError("there is no such page")
        return site.pages.page(request, "lever.html", name=name, lever=LEVERS[name], soon=SOON, max_why=MAX_WHY)

    async def pull(request: Request, form: Form) -> Response:
        why, lasts = given(form, "why") or "", given(form, "lasts") or ""
        match request.path_params["lever"]:
            case "pause":
                await pull_lever(site.connections, RuleAction.PAUSE, why=why, lasts=lasts)
            case "resume":
                await end_pauses(site.connections, why=why)
            case "probe":
                await pull_lever(site.connections, RuleAction.PROBE, why=why, lasts=PROBE_LASTS)
            case _:
                raise UnknownError("there is no such page")
        return _done()

    return [Route("/levers/{lever}", ask), action("/levers/{lever}", site, pull)]


def _options(query: QueryParams) -> RuleOptions:
    values: dict[str, Any] = {name: given(query, name) for name in FIELDS}
    values |= {"action": values["action"] or "", "why": values["why"] or "", "lasts": values["lasts"] or "24h"}
    return RuleOptions(**values)


def _done() -> Response:
    """To the list, where what was done is seen. Loading that page again does nothing again."""
    return RedirectResponse("/rules", status_code=303)
