"""The console as an ASGI application: its routes, and an answer to every failure."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from shared.errors import EventLoggingError
from shared.process.logs import get_logger
from worker.operators.console import audit, dead_letters, events, overview, pending, replay, rules, tail, warnings
from worker.operators.console.security import AsgiApp, Guarded
from worker.operators.console.site import Site
from worker.operators.exit_codes import UnknownError, UsageError
from worker.operators.failure_reasons import explained

PAGES: Final = (overview, pending, replay, dead_letters, events, tail, warnings, rules, audit)
"""`replay` comes before `dead_letters`, whose last route takes any name."""

_log = get_logger()


def create_app(site: Site, *, port: int) -> AsgiApp:
    """The application, for those who may use it; `port` is where it is reached."""
    routes: list[Route | Mount] = [route for page in PAGES for route in page.routes(site)]
    routes.append(Mount("/static", StaticFiles(packages=[("worker.operators.console", "static")])))
    handlers = {
        EventLoggingError: _on_failure(site),
        HTTPException: _on_http_error(site),
        Exception: _on_crash(site),
    }
    app = Starlette(routes=routes, exception_handlers=handlers)
    return Guarded(app, port=port, keys=site.keys)


Handler = Callable[[Request, Exception], Awaitable[Response]]


def _on_failure(site: Site) -> Handler:
    async def handle(request: Request, error: Exception) -> Response:
        if not isinstance(error, EventLoggingError):
            raise error
        sentence = explained(error, site.connections.settings)
        if isinstance(error, UsageError):
            status, title = 400, "Not asked"
        elif isinstance(error, UnknownError):
            status, title = 404, "Not found"
        else:
            status, title, sentence = 503, "Not known", f"Not known: {sentence}."
        return site.pages.page(request, "trouble.html", code=status, title=title, sentence=sentence)

    return handle


def _on_http_error(site: Site) -> Handler:
    async def handle(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        sentence = "There is no such page." if status == HTTPStatus.NOT_FOUND else HTTPStatus(status).phrase
        return site.pages.page(request, "trouble.html", code=status, title="Not found", sentence=sentence)

    return handle


def _on_crash(site: Site) -> Handler:
    async def handle(request: Request, error: Exception) -> Response:
        _log.error("console_page_crashed", exc_info=error)
        sentence = "A bug in nest-events; please report it with the traceback in the terminal."
        return site.pages.page(request, "trouble.html", code=500, title="Our fault", sentence=sentence)

    return handle
