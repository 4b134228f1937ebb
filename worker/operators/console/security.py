"""Who may talk to the console: a pure ASGI middleware in front of everything else.

The console acts with its operator's credentials, so no web page that the operator visits, and no other user of this
machine, may act through it or read from it.

- A page elsewhere that calls our address has a foreign Origin. One whose name was made to resolve to 127.0.0.1 (DNS
  rebinding) has a foreign Host. Both are refused.
- Without the token that was printed there is no cookie, and without the cookie no answer.
- Cookies do not tell ports apart, and SameSite regards all of 127.0.0.1 as one site. A page of another server on this
  machine is therefore told apart by Origin and Sec-Fetch-Site, and by the form token, which it cannot read.
"""

import secrets
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Any, Final
from urllib.parse import parse_qs

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]

ENTRY: Final = "/enter"

HEADERS: Final = {
    # Nothing inline and nothing from elsewhere: what gets past the escaping still does not run.
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    # With `no-referrer` browsers send `Origin: null` with our own forms. This sends nothing to any other origin either.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}

_METHODS: Final = frozenset({"GET", "HEAD", "POST"})

_NO_COOKIE: Final = "Open the address that `nest-events console` printed: it holds the key to this page."
_NOT_OURS: Final = "This address is not, or no longer, the one that `nest-events console` printed."
_FOREIGN_HOST: Final = "This console answers to the address that it printed, and to no other name."
_FOREIGN_PAGE: Final = "Another site asked for this. The console does only what is asked for on its own pages."
_METHOD: Final = "The console knows GET, HEAD and POST."

# Not a redirect: after a link on another site the browser would follow it without the cookie, which is SameSite=Strict.
_ENTERED: Final = b"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>nest-events</title><link rel="icon" href="/static/icon.svg">
<meta http-equiv="refresh" content="0;url=/">
<p><a href="/">Go on to the console</a></p></html>
"""


def _new() -> str:
    return secrets.token_urlsafe(32)


@dataclass(frozen=True, slots=True)
class Keys:
    """Three secrets that last as long as the console, so that none of them gives away another."""

    token: str = field(default_factory=_new, repr=False)
    """In the address that is printed."""

    session: str = field(default_factory=_new, repr=False)
    """In the cookie."""

    form: str = field(default_factory=_new, repr=False)
    """In every form that changes something."""


class Guarded:
    """The application, for those who may use it."""

    def __init__(self, app: AsgiApp, *, port: int, keys: Keys) -> None:
        self._app = app
        self._keys = keys
        self._hosts = frozenset({f"127.0.0.1:{port}", f"localhost:{port}"})
        # Consoles on several ports would otherwise overwrite each other's cookie.
        self._cookie = f"nest-events-{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            return
        headers: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
        if (refusal := self._foreign(scope["method"], headers)) is not None:
            await _answer(send, *refusal)
        elif scope["path"] == ENTRY:
            await self._enter(scope, send)
        elif not self._has_cookie(headers.get("cookie", [])):
            await _answer(send, 403, _NO_COOKIE)
        else:
            await self._app(scope, receive, _with_headers(send))

    def _foreign(self, method: str, headers: dict[str, list[str]]) -> tuple[int, str] | None:
        """The refusal of what does not come from a page of ours, or from the operator's own typing."""
        host = headers.get("host", [])
        if len(host) != 1 or host[0] not in self._hosts:
            return 403, _FOREIGN_HOST
        if method not in _METHODS:
            return 405, _METHOD
        sites = headers.get("sec-fetch-site", [])
        if method == "POST":
            # Every browser sends Origin with a POST; what is no browser must say where it comes from too.
            is_ours = headers.get("origin") == [f"http://{host[0]}"] and sites in ([], ["same-origin"])
            return None if is_ours else (403, _FOREIGN_PAGE)
        # A link elsewhere may lead here, without the cookie and so to a refusal; but no page may include what is here.
        is_link = headers.get("sec-fetch-mode") == ["navigate"] and headers.get("sec-fetch-dest") == ["document"]
        return None if is_link or sites in ([], ["same-origin"], ["none"]) else (403, _FOREIGN_PAGE)

    async def _enter(self, scope: Scope, send: Send) -> None:
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [])
        if len(given) != 1 or not _same(given[0], self._keys.token):
            await _answer(send, 403, _NOT_OURS)
            return
        cookie = f"{self._cookie}={self._keys.session}; Path=/; HttpOnly; SameSite=Strict"
        more = [
            ("set-cookie", cookie),
            ("content-type", "text/html; charset=utf-8"),
            ("referrer-policy", "no-referrer"),
        ]
        await _respond(send, 200, _ENTERED, more)

    def _has_cookie(self, lines: Iterable[str]) -> bool:
        for line in lines:
            try:
                cookie = SimpleCookie(line).get(self._cookie)
            except CookieError:
                continue
            if cookie is not None and _same(cookie.value, self._keys.session):
                return True
        return False


def _same(given: str, secret: str) -> bool:
    return secrets.compare_digest(given.encode(), secret.encode())


def is_form_token(given: str, keys: Keys) -> bool:
    """Whether a form was made by this console."""
    return _same(given, keys.form)


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            ours = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
            kept = [(name, value) for name, value in message.get("headers", []) if name.decode() not in HEADERS]
            message = {**message, "headers": [*kept, *ours]}
        await send(message)

    return sending


async def _answer(send: Send, status: int, sentence: str) -> None:
    await _respond(send, status, f"{sentence}\n".encode(), [("content-type", "text/plain; charset=utf-8")])


async def _respond(send: Send, status: int, body: bytes, more: list[tuple[str, str]]) -> None:
    headers = [*(HEADERS | dict(more)).items()]
    encoded = [(name.encode(), value.encode()) for name, value in [*headers, ("content-length", str(len(body)))]]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})
