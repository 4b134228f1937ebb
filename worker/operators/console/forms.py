"""What is typed into a page, as the commands take it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Final
from urllib.parse import parse_qsl

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from worker.operators.console.security import is_form_token
from worker.operators.console.site import Site
from worker.operators.dead_letters.choosing import ReplayWish
from worker.operators.dead_letters.filters import Filters
from worker.operators.dead_letters.selection import Selection, selection
from worker.operators.events.finding import event_id_of
from worker.operators.exit_codes import UsageError
from worker.operators.options import DEFAULT_RATE, MAX_RATE, MAX_REPLAYS, MIN_RATE

MOST_FIELDS: Final = 200
"""Fields of one form: a replay has some ten, and the filters may be repeated."""

LONGEST_FORM: Final = 64 * 1024
"""Bytes of one form, likewise far above what a page sends."""

Form = QueryParams
Action = Callable[[Request, Form], Awaitable[Response]]


def action(path: str, site: Site, act: Action) -> Route:
    """A route that changes something. It is the only way to one: a form without our token gets no further."""

    async def checked(request: Request) -> Response:
        form = await _read(request)
        if not is_form_token(form.get("form_token", ""), site.keys):
            why = "This form is not of this console, or of an earlier one. Go back, and load the page again."
            return site.pages.page(request, "trouble.html", code=403, title="Not done", sentence=why)
        return await act(request, form)

    return Route(path, checked, methods=["POST"])


async def _read(request: Request) -> Form:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > LONGEST_FORM:
            raise UsageError("the form is too long")
    try:
        return Form(parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=MOST_FIELDS))
    except ValueError:
        raise UsageError("the form is not one that a browser sends") from None


def given(query: QueryParams, name: str) -> str | None:
    """The value of a field; None where it is empty or missing."""
    return query.get(name, "").strip() or None


def selection_of(query: QueryParams, *, now: datetime) -> Selection:
    """Which dead letters are meant; ages count back from `now`.

    Raises:
        UsageError: as `selection` and `event_id_of`.
    """
    filters = Filters(
        reason=_all(query, "reason"),
        event_name=_all(query, "event_name"),
        caller=_all(query, "caller"),
        older_than=given(query, "older_than"),
        younger_than=given(query, "younger_than"),
        # A file of this machine is not for a browser to name.
        ids_from=None,
    )
    event_id = given(query, "event_id")
    chosen = selection(filters, now=now)
    return chosen if event_id is None else replace(chosen, ids=frozenset({event_id_of(event_id)}))


def wish_of(query: QueryParams, *, now: datetime) -> ReplayWish:
    """The replay that is meant, within the bounds of the command's options.

    Raises:
        UsageError: a value is wrong.
    """
    limit = given(query, "limit")
    return ReplayWish(
        choice=selection_of(query, now=now),
        from_rows=given(query, "from_rows") is not None,
        limit=None if limit is None else int(_within(limit, "at most", 1, 10_000_000, whole=True)),
        rate=_within(given(query, "rate") or str(DEFAULT_RATE), "events per second", MIN_RATE, MAX_RATE),
        max_replays=int(_within(given(query, "max_replays") or str(MAX_REPLAYS), "replays", 1, 1000, whole=True)),
    )


def filters_in(query: QueryParams, names: Mapping[str, str]) -> list[tuple[str, str]]:
    """The fields of these names that are set, for links and hidden fields."""
    return [(name, value) for name, value in query.multi_items() if name in names and value.strip()]


def _all(query: QueryParams, name: str) -> list[str] | None:
    return [value.strip() for value in query.getlist(name) if value.strip()] or None


def _within(text: str, what: str, least: float, most: float, *, whole: bool = False) -> float:
    try:
        value = int(text) if whole else float(text)
    except ValueError:
        raise UsageError(f"'{text}' ({what}) is not a number") from None
    if not least <= value <= most:  # not a number is in no range
        raise UsageError(f"{what}: {text} is not between {least:g} and {most:g}")
    return value
