"""`nest-events console` in Chromium: on a desktop and on a phone, by keyboard, with hostile events, light and dark."""

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser

from tests.support.emulators.seeded_events import SeededEvents
from tests.support.operators.browser import DESKTOP, PHONE, Watched, entered, running_browser
from tests.support.operators.console import RunningConsole

pytestmark = [pytest.mark.emulators, pytest.mark.timeout(120)]

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\u202e" + "x" * 150
LONG = {"note": "</pre><script>alert(3)</script>" + "y" * 40_000}


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with running_browser() as running:
        yield running


async def seeded_with_hostile_events(seeded: SeededEvents) -> str:
    """Pending and dead events, with names, callers and payloads that try to run; the id of a dead one."""
    caller = "<b>" + "c" * 200 + "@example.com"
    await seeded.log(2, name=HOSTILE, caller=caller)
    dead = await seeded.log(3, name=HOSTILE, caller=caller, metadata=LONG, actor_id="<svg onload=alert(4)>")
    await seeded.dead_letter(dead, "http_400")
    await seeded.publish_poison(1)
    await seeded.collect()
    return dead[0].event_id


async def tab_to(watched: Watched, selector: str) -> int:
    """Press Tab until the element has the focus; how often that was."""
    for presses in range(1, 200):
        await watched.page.keyboard.press("Tab")
        if await watched.evaluate(f"document.activeElement === document.querySelector('{selector}')"):
            return presses
    raise AssertionError(f"Tab never reaches {selector}")


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
async def test_pages_fit_and_ask_nobody_else_and_hostile_events_do_not_run(
    browser: Browser, console: RunningConsole, seeded: SeededEvents, size: tuple[int, int]
) -> None:
    event_id = await seeded_with_hostile_events(seeded)
    (poison,) = [each for each in await seeded.open_letters() if each.event_id is None]
    paths = [
        "/", "/pending", "/dead-letters", "/dead-letters/replay", "/replays", "/events", "/rules",
        "/events?caller=none%40example.com", f"/events/{event_id}", f"/dead-letters/{poison.message_id}",
        "/rules/new?action=hold&event_name=order_paid&why=INC-12", "/levers/pause", "/audit", "/tail",
        "/warnings",
    ]  # fmt: skip

    async with entered(browser, console.url, size=size) as watched:
        for path in paths:
            answer = await watched.page.goto(f"{console.origin}{path}")
            assert answer is not None
            assert answer.status == 200, path
            # Everything that unfolds, too: a long value must wrap.
            await watched.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
            assert await watched.overflow() <= 0, path
            assert await watched.page.locator("h1").count() == 1, path
            assert await watched.page.title(), path

        assert watched.troubles == []
        assert await watched.page.evaluate("document.cookie") == ""


async def test_the_keyboard_reaches_a_replays_confirmation_and_its_end(
    browser: Browser, console: RunningConsole, seeded: SeededEvents
) -> None:
    await seeded.dead_letter(await seeded.log(3), "http_400")
    await seeded.collect()

    async with entered(browser, console.url) as watched:
        page = watched.page
        await page.goto(f"{console.origin}/dead-letters")
        assert await tab_to(watched, ".skip") == 1
        assert await page.locator(".skip").evaluate("each => each.getBoundingClientRect().top >= 0")
        await tab_to(watched, 'a[href="/dead-letters/replay"]')
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/dead-letters/replay")
        await tab_to(watched, "#confirmation button")
        outline = await watched.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/replays/*")
        await page.get_by_text("3 of 3 events").wait_for()
        await page.locator(".badge.done").wait_for()

        assert outline == "solid"
        assert watched.troubles == []
    assert {state for state, _ in (await seeded.states()).values()} == {"PENDING"}


async def test_on_a_narrow_screen_the_navigation_shows_where_one_is(browser: Browser, console: RunningConsole) -> None:
    async with entered(browser, console.url, size=PHONE) as watched:
        await watched.page.goto(f"{console.origin}/rules")
        place = await watched.evaluate(
            "(() => { const box = document.querySelector('nav [aria-current]').getBoundingClientRect();"
            " return [box.left, box.right, window.innerWidth]; })()"
        )

    left, right, width = place
    assert 0 <= left < right <= width


async def test_the_overview_is_refreshed_without_losing_the_place(
    browser: Browser, console: RunningConsole, seeded: SeededEvents
) -> None:
    await seeded.log(1, name="first_seen")

    async with entered(browser, console.url, size=PHONE) as watched:
        page = watched.page
        await page.locator("#account-table summary").click()
        link = page.get_by_role("link", name="first_seen")
        await link.focus()
        scrolled = await watched.evaluate("window.scrollY")
        await seeded.log(1, name="second_seen")
        await page.get_by_role("link", name="second_seen").wait_for()

        assert scrolled > 0
        assert await watched.evaluate("window.scrollY") == scrolled
        assert await watched.evaluate("document.querySelector('#account-table').open")
        assert await link.evaluate("each => each === document.activeElement")
        assert watched.troubles == []


async def test_a_page_says_when_the_console_has_ended(browser: Browser, console: RunningConsole) -> None:
    async with entered(browser, console.url) as watched:
        assert await console.end() == 130

        await watched.page.get_by_text("does nest-events console still run?").wait_for()
        assert await watched.page.locator("body.stale").count() == 1


async def test_dark_pages_are_dark_and_both_can_be_read(
    browser: Browser, console: RunningConsole, seeded: SeededEvents
) -> None:
    await seeded.log(1)
    luminance = """
    (() => {
      const parts = (colour) => colour.match(/[0-9.]+/g).slice(0, 3).map((each) => {
        const value = each / 255;
        return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
      });
      const of = (colour) => { const [r, g, b] = parts(colour); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
      const ground = (each) => {
        for (let at = each; at; at = at.parentElement) {
          const colour = getComputedStyle(at).backgroundColor;
          if (!/, 0\\)$/.test(colour)) return colour;
        }
        return "rgb(255, 255, 255)";
      };
      const texts = [...document.querySelectorAll("p, a, h1, h2, h3, th, td, li, label, button, .badge, summary")]
        .filter((each) => each.getClientRects().length && each.innerText.trim() && !each.closest(".quiet, .skip"));
      const worst = texts.map((each) => {
        const [one, other] = [of(getComputedStyle(each).color), of(ground(each))].sort((a, b) => b - a);
        return [(one + 0.05) / (other + 0.05), each.innerText.slice(0, 40)];
      }).sort((a, b) => a[0] - b[0])[0];
      return [of(getComputedStyle(document.body).backgroundColor), ...worst];
    })()"""
    for scheme in ("light", "dark"):
        async with entered(browser, console.url, scheme="dark" if scheme == "dark" else "light") as watched:
            for path in ("/", "/pending", "/dead-letters/replay", "/levers/pause"):
                await watched.page.goto(f"{console.origin}{path}")
                body, contrast, text = await watched.evaluate(luminance)
                assert (body < 0.1) is (scheme == "dark"), (scheme, path)
                assert contrast >= 4.5, (scheme, path, text, contrast)


async def test_without_the_key_a_browser_sees_one_sentence(browser: Browser, console: RunningConsole) -> None:
    page = await browser.new_page()

    answer = await page.goto(f"{console.origin}/dead-letters")

    assert answer is not None
    assert answer.status == 403
    assert "Open the address that `nest-events console` printed" in await page.inner_text("body")


async def test_another_site_gets_nothing_done_and_nothing_to_see(
    browser: Browser, console: RunningConsole, seeded: SeededEvents
) -> None:
    await seeded.dead_letter(await seeded.log(1), "http_400")
    await seeded.collect()
    before = await seeded.states()
    async with entered(browser, console.url) as watched:
        dry = await console.get("/dead-letters/replay")
        fields = "".join(f"<input name='{name}' value='{value}'>" for name, value in dry.hidden)
        target = f"{console.origin}/dead-letters/replay"
        evil = f"""<!doctype html><iframe src="{console.origin}/"></iframe>
            <script id="code" src="{console.origin}/static/console.js"></script>
            <form method="post" action="{target}">{fields}</form>"""
        page = watched.page
        # `localhost` is another origin and, to a browser, another site; the cookie of 127.0.0.1 is there all the same.
        await page.route("http://evil.localhost/", lambda route: route.fulfill(body=evil, content_type="text/html"))
        await page.goto("http://evil.localhost/")
        read = await page.evaluate(
            f"fetch('{console.origin}/', {{credentials: 'include'}}).then((a) => a.text(), () => 'refused')"
        )
        framed = await page.evaluate("document.querySelector('iframe').contentDocument === null")
        async with page.expect_navigation():
            await page.evaluate("document.querySelector('form').submit()")

        assert read == "refused"
        assert framed
        assert (await page.inner_text("body")).startswith("Another site asked for this.")
    assert await seeded.states() == before
