"""The routes: log_event, control, stats, events, and the page."""

from collections.abc import Callable
from functools import cache
from http import HTTPStatus
from importlib import resources
from typing import Final

from deploy.local.statsig_stand_in.connection import Exchange, Responder
from deploy.local.statsig_stand_in.ingest import Ingest
from deploy.local.statsig_stand_in.rules import InvalidControlError, RuleBook, parse_control
from deploy.local.statsig_stand_in.tally import EVENTS_KEPT, Tally
from deploy.local.statsig_stand_in.wire import RefusedRequestError, Response, json_response, refusal

EVENTS_BY_DEFAULT: Final = 100

_PAGE_HEADERS: Final = {
    # The page shows text that any client may have logged: even with a mistake in the page it must not run or load.
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}


class Routes:
    """The router of a stand-in."""

    def __init__(self, ingest: Ingest, rules: RuleBook, tally: Tally) -> None:
        self._ingest = ingest
        self._rules = rules
        self._tally = tally
        self._plain: dict[tuple[str, str], Callable[[Exchange], Response]] = {
            ("GET", "/"): lambda _: Response(HTTPStatus.OK, _page(), "text/html; charset=utf-8", _PAGE_HEADERS),
            ("GET", "/stats"): lambda _: json_response(HTTPStatus.OK, self._tally.stats()),
            ("GET", "/events"): self._events,
            ("GET", "/control"): self._show_control,
            ("PUT", "/control"): self._replace_control,
            ("DELETE", "/control"): self._clear_control,
        }

    def __call__(self, exchange: Exchange) -> Responder:
        if (exchange.method, exchange.path) == ("POST", "/v1/log_event"):
            return self._ingest.open(exchange)
        return self._respond

    async def _respond(self, exchange: Exchange) -> None:
        serve = self._plain.get((exchange.method, exchange.path), _not_found)
        try:
            response = serve(exchange)
        except RefusedRequestError as error:
            response = refusal(error)
        exchange.send(response)

    def _events(self, exchange: Exchange) -> Response:
        limit = _whole_number(exchange.query, "limit", EVENTS_BY_DEFAULT)
        after = _whole_number(exchange.query, "after", 0)
        return json_response(HTTPStatus.OK, {"events": self._tally.latest(limit=min(limit, EVENTS_KEPT), after=after)})

    def _show_control(self, _: Exchange) -> Response:
        return json_response(HTTPStatus.OK, {"rules": self._rules.shown()})

    def _replace_control(self, exchange: Exchange) -> Response:
        try:
            self._rules.replace(parse_control(exchange.body))
        except InvalidControlError as error:
            raise RefusedRequestError(HTTPStatus.BAD_REQUEST, str(error)) from error
        return self._show_control(exchange)

    def _clear_control(self, exchange: Exchange) -> Response:
        self._rules.replace([])
        return self._show_control(exchange)


def _not_found(exchange: Exchange) -> Response:
    raise RefusedRequestError(HTTPStatus.NOT_FOUND, f"nothing at {exchange.method} {exchange.path}")


def _whole_number(query: dict[str, str], name: str, default: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 19):  # noqa: PLR2004 - what 64 bits hold
        raise RefusedRequestError(HTTPStatus.BAD_REQUEST, f"{name} is not a whole number")
    return int(text)


@cache
def _page() -> bytes:
    return resources.files(__package__).joinpath("page.html").read_bytes()
