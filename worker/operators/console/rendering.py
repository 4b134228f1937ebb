"""Templates, and what they may write: every value is escaped, and loses the characters that are not printable."""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote, urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse

from worker.operators.terminal.durations import shown
from worker.operators.terminal.output import clean, text_of

CUT: Final = 120
"""Characters of a value that are shown at once; the rest unfolds. An idempotency key and a UUID are shorter."""

NAVIGATION: Final = (
    ("/", "Overview"),
    ("/pending", "Pending"),
    ("/dead-letters", "Dead letters"),
    ("/events", "Events"),
    ("/tail", "Live"),
    ("/warnings", "Warnings"),
    ("/rules", "Rules"),
    ("/audit", "Audit"),
)


class Pages:
    """Renders the templates of this package."""

    def __init__(self, *, place: str, form_token: str) -> None:
        """`place` names the service that is looked at."""
        self._environment = Environment(
            loader=PackageLoader("worker.operators.console"),
            autoescape=True,
            undefined=StrictUndefined,
            finalize=_written,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= {
            "number": number, "age": shown, "lines": lines, "as_json": as_json, "words": words, "segment": segment,
            "one_line": one_line,
            "exact": exact,
        }  # fmt: skip
        self._environment.globals |= {
            "place": place, "form_token": form_token, "navigation": NAVIGATION, "cut": CUT, "link": link,
        }  # fmt: skip

    def page(
        self, request: Request, template: str, *, code: int = 200, refresh_seconds: int = 0, **values: Any
    ) -> HTMLResponse:
        """A page. Where `refresh_seconds` is set, the page asks for itself again so often, while it is looked at."""
        given = {"path": request.url.path, "refresh_seconds": refresh_seconds, **values}
        return HTMLResponse(self._environment.get_template(template).render(given), status_code=code)


def _written(value: Any) -> Any:
    """What a template writes for a value. Text that a template has made of templates stays as it is."""
    return value if isinstance(value, Markup) else clean(text_of(value))


def number(value: float) -> str:
    """A count with its thousands apart, a rate with one decimal."""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


def words(name: str) -> str:
    """The name of a field as words."""
    return name.replace("_", " ")


def lines(text: str) -> list[str]:
    """The text's lines, for a template that writes each of them."""
    return text.split("\n")


def as_json(value: Any) -> str:
    """A document as people read it."""
    return json.dumps(value, ensure_ascii=False, indent=2, default=str)


def exact(value: Any) -> Markup:
    """The value as it is, escaped, for fields of a form: what is sent back must be what was asked for."""
    return escape("" if value is None else str(value))


def one_line(value: Any) -> str:
    """A document in one line."""
    return json.dumps(value, ensure_ascii=False, default=str)


def segment(text: str) -> str:
    """A text as one segment of a path, whatever it holds."""
    return quote(text, safe="")


def link(path: str, query: Mapping[str, Any] | Iterable[tuple[str, Any]] = (), **more: Any) -> str:
    """The path with a query: the values of `more` take the place of those of the same name, and None leaves one out."""
    given = [*(query.items() if isinstance(query, Mapping) else query)]
    pairs = [(name, value) for name, value in given if name not in more] + [*more.items()]
    kept = [(name, value.isoformat() if isinstance(value, datetime) else value) for name, value in pairs if value]
    return f"{path}?{urlencode(kept)}" if kept else path
