"""Who may talk to the console: by address, by key, and by the page that asks."""

from collections.abc import Mapping
from typing import Any

import pytest

from worker.operators.console.security import HEADERS, Guarded, Keys, Message, Receive, Scope, Send

PORT = 4711
KEYS = Keys("the-token", "the-session", "the-form-token")
COOKIE = f"nest-events-{PORT}=the-session"
OURS = {"host": f"127.0.0.1:{PORT}", "cookie": COOKIE}


class Asked:
    """What got through, and what was answered."""

    def __init__(self) -> None:
        self.reached = 0
        self.sent: list[Message] = []

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def headers(self) -> dict[str, str]:
        pairs = [(name.decode(), value.decode()) for name, value in self.sent[0]["headers"]]
        assert len(dict(pairs)) == len(pairs)
        return dict(pairs)

    @property
    def text(self) -> str:
        return b"".join(each.get("body", b"") for each in self.sent).decode()


async def ask(
    path: str = "/", headers: Mapping[str, str] | list[tuple[str, str]] = OURS, *, method: str = "GET", query: str = ""
) -> Asked:
    asked = Asked()

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        asked.reached += 1
        own = [(b"content-type", b"text/html"), (b"cache-control", b"public")]
        await send({"type": "http.response.start", "status": 200, "headers": own})
        await send({"type": "http.response.body", "body": b"secret"})

    async def receive() -> Message:
        raise AssertionError("a guard reads no body")

    async def send(message: Message) -> None:
        asked.sent.append(message)

    pairs = list(headers.items()) if isinstance(headers, Mapping) else headers
    scope: dict[str, Any] = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in pairs],
    }
    await Guarded(app, port=PORT, keys=KEYS)(scope, receive, send)
    return asked


@pytest.mark.parametrize("host", [f"127.0.0.1:{PORT}", f"localhost:{PORT}"])
async def test_who_has_entered_gets_through(host: str) -> None:
    asked = await ask(headers=OURS | {"host": host})

    assert (asked.status, asked.text, asked.reached) == (200, "secret", 1)
    assert asked.headers == {"content-type": "text/html"} | HEADERS


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        f"evil.example:{PORT}",
        "127.0.0.1",
        "localhost",
        "127.0.0.1:80",
        f"0.0.0.0:{PORT}",
        f"[::1]:{PORT}",
        f"127.0.0.1.evil.example:{PORT}",
        f"LOCALHOST.:{PORT}",
        "",
    ],
)
async def test_another_name_that_leads_here_is_refused(host: str) -> None:
    asked = await ask(headers=OURS | {"host": host})

    assert (asked.status, asked.reached) == (403, 0)
    assert "no other name" in asked.text


@pytest.mark.parametrize("hosts", [[], [f"127.0.0.1:{PORT}", "evil.example"], [f"127.0.0.1:{PORT}"] * 2])
async def test_there_must_be_one_host(hosts: list[str]) -> None:
    asked = await ask(headers=[("cookie", COOKIE), *(("host", host) for host in hosts)])

    assert (asked.status, asked.reached) == (403, 0)


@pytest.mark.parametrize(
    "cookie",
    [
        None,
        "",
        f"nest-events-{PORT}=",
        f"nest-events-{PORT}=the-token",
        f"nest-events-{PORT}=the-sessio",
        f"nest-events-{PORT + 1}=the-session",
        "the-session",
        f"nest-events-{PORT}=\xff; x",
        "=; ;;",
    ],
)
async def test_without_the_cookie_there_is_a_sentence_and_nothing_else(cookie: str | None) -> None:
    asked = await ask("/static/console.css", {"host": OURS["host"]} | ({} if cookie is None else {"cookie": cookie}))

    assert (asked.status, asked.reached) == (403, 0)
    assert asked.text == "Open the address that `nest-events console` printed: it holds the key to this page.\n"
    assert asked.headers["cache-control"] == "no-store"


async def test_the_cookie_is_found_among_others() -> None:
    assert (await ask(headers=OURS | {"cookie": f'a="b c"; {COOKIE}; d=e'})).reached == 1


async def test_the_token_is_exchanged_for_a_cookie_that_no_script_reads_and_no_site_sends() -> None:
    entered = await ask("/enter", {"host": OURS["host"]}, query="token=the-token")

    assert (entered.status, entered.reached) == (200, 0)
    assert entered.headers["set-cookie"] == f"{COOKIE}; Path=/; HttpOnly; SameSite=Strict"
    assert entered.headers["referrer-policy"] == "no-referrer"
    assert "the-token" not in entered.text
    assert 'http-equiv="refresh" content="0;url=/"' in entered.text


@pytest.mark.parametrize("query", ["", "token=", "token=the-session", "token=the-tokens", "token=the-token&token=x"])
async def test_a_wrong_token_is_no_entry(query: str) -> None:
    refused = await ask("/enter", OURS, query=query)

    assert (refused.status, "set-cookie" in refused.headers) == (403, False)


SAME = {"origin": f"http://127.0.0.1:{PORT}", "sec-fetch-site": "same-origin"}


@pytest.mark.parametrize("fetched", [SAME, {"origin": SAME["origin"]}], ids=["a browser", "without fetch metadata"])
async def test_a_form_of_ours_gets_through(fetched: dict[str, str]) -> None:
    assert (await ask(headers=OURS | fetched, method="POST")).reached == 1


@pytest.mark.parametrize(
    "fetched",
    [
        {},
        {"sec-fetch-site": "same-origin"},
        SAME | {"origin": "null"},
        SAME | {"origin": "https://evil.example"},
        SAME | {"origin": f"http://127.0.0.1:{PORT + 1}"},
        SAME | {"origin": f"http://localhost:{PORT}"},
        SAME | {"origin": f"https://127.0.0.1:{PORT}"},
        SAME | {"sec-fetch-site": "same-site"},
        SAME | {"sec-fetch-site": "cross-site"},
        SAME | {"sec-fetch-site": "none"},
    ],
    ids=str,
)
async def test_a_form_from_elsewhere_is_refused_whatever_else_it_has(fetched: dict[str, str]) -> None:
    refused = await ask(headers=OURS | fetched, method="POST")

    assert (refused.status, refused.reached) == (403, 0)
    assert refused.text.startswith("Another site asked for this.")


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_no_page_elsewhere_can_include_or_fetch_ours(site: str) -> None:
    assert (await ask(headers=OURS | {"sec-fetch-site": site, "sec-fetch-mode": "no-cors"})).status == 403
    framed = {"sec-fetch-site": site, "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}
    assert (await ask(headers=OURS | framed)).status == 403


async def test_a_link_elsewhere_may_lead_to_the_printed_address() -> None:
    linked = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}

    assert (await ask("/enter", {"host": OURS["host"]} | linked, query="token=the-token")).status == 200


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
async def test_other_methods_are_refused(method: str) -> None:
    asked = await ask(headers=OURS | SAME, method=method)

    assert (asked.status, asked.reached) == (405, 0)


async def test_a_websocket_is_closed() -> None:
    sent: list[Message] = []

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise AssertionError("it must not get through")

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    await Guarded(app, port=PORT, keys=KEYS)({"type": "websocket", "headers": []}, receive, send)

    assert [each["type"] for each in sent] == ["websocket.close"]


def test_keys_differ_and_are_not_printed() -> None:
    one, other = Keys(), Keys()

    assert len({one.token, one.session, one.form, other.token, other.session, other.form}) == 6
    assert min(map(len, (one.token, one.session, one.form))) >= 43
    assert one.token not in repr(one)


def test_nothing_inline_and_nothing_from_elsewhere_is_allowed() -> None:
    policy = HEADERS["content-security-policy"]

    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert (HEADERS["x-frame-options"], HEADERS["cache-control"]) == ("DENY", "no-store")
