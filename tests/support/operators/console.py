"""`nest-events console` as a process, and a client that speaks to it as a browser does."""

import json
import re
import signal
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from html import unescape
from typing import Final
from urllib.parse import urlencode

import anyio
import anyio.to_thread
import pyqwest

from tests.support.operators.nest_events import SECONDS, start_nest_events

_TOKEN: Final = re.compile(r'name="form_token" value="([^"]+)"')
_HIDDEN: Final = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)">')


@dataclass(frozen=True)
class Page:
    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def words(self) -> str:
        """The text, as it is read."""
        return " ".join(unescape(re.sub(r"<[^>]+>", " ", self.text)).split())

    @property
    def form_token(self) -> str:
        (token, *_) = _TOKEN.findall(self.text)
        return str(token)

    @property
    def hidden(self) -> list[tuple[str, str]]:
        """The hidden fields of the page's forms."""
        return [(name, unescape(value)) for name, value in _HIDDEN.findall(self.text)]


def _client() -> pyqwest.Client:
    return pyqwest.Client(pyqwest.HTTPTransport(follow_redirects=False))


@dataclass
class RunningConsole:
    """A console, and the cookie that its address was exchanged for."""

    url: str
    process: "subprocess.Popen[str]"
    cookie: str = ""
    client: pyqwest.Client = field(default_factory=_client)

    @property
    def origin(self) -> str:
        return self.url.partition("/enter")[0]

    async def get(self, path: str, **headers: str) -> Page:
        """As the browser that has entered, unless `headers` say otherwise; None of a value leaves it out."""
        return await self._call("GET", path, {"cookie": self.cookie} | headers, None)

    async def post(self, path: str, form: Sequence[tuple[str, str]], **headers: str) -> Page:
        usual = {"cookie": self.cookie, "origin": self.origin, "sec-fetch-site": "same-origin"}
        content = {"content-type": "application/x-www-form-urlencoded"}
        return await self._call("POST", path, usual | content | headers, urlencode(form).encode())

    async def enter(self) -> Page:
        entered = await self._call("GET", self.url.removeprefix(self.origin), {}, None)
        self.cookie = entered.headers["set-cookie"].partition(";")[0]
        return entered

    async def end(self) -> int:
        """As Ctrl-C does; the exit code."""
        self.process.send_signal(signal.SIGINT)
        return await anyio.to_thread.run_sync(lambda: self.process.wait(SECONDS))

    async def _call(self, method: str, path: str, headers: Mapping[str, str], content: bytes | None) -> Page:
        given = {name.replace("_", "-"): value for name, value in headers.items() if value}
        answer = await self.client.execute(method, f"{self.origin}{path}", headers=given, content=content)
        return Page(answer.status, dict(answer.headers.items()), bytes(answer.content).decode())


@asynccontextmanager
async def running_console(environment: Mapping[str, str]) -> AsyncIterator[RunningConsole]:
    """A console that has been entered, and is ended by force if the body has not ended it."""
    process = start_nest_events(environment, "console", "--json")
    try:
        assert process.stdout is not None
        with anyio.fail_after(SECONDS):
            line = await anyio.to_thread.run_sync(process.stdout.readline, abandon_on_cancel=True)
        assert line, process.stderr and process.stderr.read()
        console = RunningConsole(json.loads(line)["url"], process)
        await console.enter()
        yield console
    finally:
        process.kill()
        process.communicate()
