"""Debian's Chromium without a window, and what its pages do that they must not."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import pytest
from playwright.async_api import Browser, ConsoleMessage, Dialog, Error, Page, Request, async_playwright

PROGRAMS: Final = ("chromium", "chromium-browser", "google-chrome")

SECONDS: Final = 20.0

DESKTOP: Final = (1280, 900)
PHONE: Final = (360, 740)

Scheme = Literal["light", "dark"]


@dataclass
class Watched:
    """A page, and everything that it did beyond showing itself."""

    page: Page
    origin: str
    troubles: list[str] = field(default_factory=list)
    """Errors, dialogs and requests to anything else."""

    def __post_init__(self) -> None:
        self.page.set_default_timeout(SECONDS * 1000)
        self.page.on("console", self._on_console)
        self.page.on("pageerror", self._on_error)
        self.page.on("dialog", self._on_dialog)
        self.page.on("request", self._on_request)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.troubles.append(f"console: {message.text}")

    def _on_error(self, error: Error) -> None:
        self.troubles.append(f"error: {error}")

    async def _on_dialog(self, dialog: Dialog) -> None:
        self.troubles.append(f"dialog: {dialog.message}")
        await dialog.dismiss()

    def _on_request(self, request: Request) -> None:
        if not request.url.startswith(f"{self.origin}/"):
            self.troubles.append(f"request: {request.url}")

    async def overflow(self) -> int:
        """By how many pixels the page is wider than its window."""
        wide = await self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        return int(wide)

    async def evaluate(self, expression: str) -> Any:
        return await self.page.evaluate(expression)


@asynccontextmanager
async def running_browser() -> AsyncIterator[Browser]:
    """Chromium; the test is skipped without it, and with CI set it fails."""
    program = next((found for name in PROGRAMS if (found := shutil.which(name)) is not None), None)
    if program is None:
        if os.environ.get("CI"):
            pytest.fail(f"NO BROWSER: none of {', '.join(PROGRAMS)} is on PATH")  # what matters must not be skipped
        pytest.skip("NO BROWSER: Chromium is not installed")
    async with async_playwright() as playwright:
        # A container has no user namespaces for Chromium's own sandbox; what it loads is ours.
        browser = await playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def entered(
    browser: Browser, url: str, *, size: tuple[int, int] = DESKTOP, scheme: Scheme = "light"
) -> AsyncIterator[Watched]:
    """A page that has opened the printed address, in a browser profile of its own."""
    origin = url.partition("/enter")[0]
    context = await browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    try:
        watched = Watched(await context.new_page(), origin)
        await watched.page.goto(url)
        await watched.page.wait_for_url(f"{origin}/")
        yield watched
    finally:
        await context.close()
