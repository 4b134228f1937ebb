"""Makes deploy/screenshots/console.png and console-phone.png: a day of events of which some went wrong.

python -m tests.support.operators.console_screenshots
"""

import asyncio
import math
import random
import tempfile
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import typer

from deploy.local.emulators import running_emulators
from deploy.local.stack import REPOSITORY
from shared.events.forward_ledger import DeliveryRecord
from shared.process.process_states import ProcessState, Report, Role
from shared.spanner.event_log import LOG_TABLE
from tests.support.emulators.provisioned import provisioned
from tests.support.emulators.seeded_events import SeededEvents, seeded_events
from tests.support.operators.browser import DESKTOP, PHONE, Scheme, entered, running_browser
from tests.support.operators.console import running_console

FOLDER: Final = REPOSITORY / "deploy" / "screenshots"

NAMES: Final = ("order_paid", "signed_up", "checkout_started", "email_opened", "refund_issued")
CALLERS: Final = ("checkout@example.com", "growth@example.com", "mailer@example.com")
REASONS: Final = ("http_400", "http_400", "http_413", "http_422")

EVENTS_AT_NOON: Final = 60


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with running_emulators(Path(folder)) as emulators, provisioned(emulators, "shop") as names:
            environment = names.variables | emulators.variables
            async with seeded_events(environment) as seeded:
                await _a_day(seeded)
                await _processes(seeded)
                await _take(environment)


async def _a_day(seeded: SeededEvents) -> None:
    """More events by day than by night; some die, and those of the last minutes wait."""
    rng, now = random.Random(7), datetime.now(UTC)
    for ago in reversed(range(24)):
        at = now.replace(minute=0, second=0) - timedelta(hours=ago) + timedelta(minutes=30) if ago else now
        count = int(EVENTS_AT_NOON * (0.6 + 0.4 * math.sin((at.hour - 6) / 24 * math.tau))) + rng.randint(0, 8)
        events = await seeded.log(count, name=rng.choice(NAMES), caller=rng.choice(CALLERS))
        dead = count // 9 if ago % 6 == 2 else 0
        waiting = count // 2 if not ago else 0
        await seeded.dead_letter(events[:dead], rng.choice(REASONS), at=at)
        await seeded.settle_delivered(events[dead : count - waiting])
        if ago:
            async with seeded.database.batch() as batch:
                batch.update(LOG_TABLE, ("event_id", "ingested_at"), [(each.event_id, at) for each in events])
        else:
            tried = [each.event_id for each in events[-waiting:][: waiting * 2 // 3]]
            await seeded.ledger.claim(tried, token="t", seconds=60)
            noted = [DeliveryRecord(each, 1, 0, now, "http_503", 503, ()) for each in tried]
            await seeded.ledger.release(noted, token="t")
    await seeded.collect()


async def _processes(seeded: SeededEvents) -> None:
    now = datetime.now(UTC)
    circuit = {
        "circuit_reason": "http_503", "circuit_since": now - timedelta(minutes=2),
        "next_probe_at": now + timedelta(seconds=25), "last_failure": "http_503", "last_failure_at": now,
    }  # fmt: skip
    for role, report in (
        (Role.WORKER, Report(delivered=412)),
        (Role.WORKER, Report(delivered=0, failed_requests=3, **circuit)),  # type: ignore[arg-type]
        (Role.INGRESS, Report(accepted=421, refused=2)),
    ):
        state = ProcessState(
            process_id=str(uuid.uuid4()), role=role, version="0.1.0", started_at=now, interval_seconds=10.0,
            report=report, is_stopped=False,
        )  # fmt: skip
        await seeded.processes.report(state)


async def _take(environment: dict[str, str]) -> None:
    async with running_console(environment) as console, running_browser() as browser:
        pictures: tuple[tuple[str, tuple[int, int], Scheme], ...] = (
            ("console.png", DESKTOP, "light"),
            ("console-phone.png", PHONE, "dark"),
        )
        for name, size, scheme in pictures:
            async with entered(browser, console.url, size=size, scheme=scheme) as watched:
                await watched.page.locator("#account .chart").wait_for()
                await watched.page.locator("footer, #processes").first.wait_for()
                whole = await watched.page.evaluate("document.querySelector('#account').getBoundingClientRect().bottom")
                clip = {"x": 0, "y": 0, "width": size[0], "height": min(int(whole) + 16, 1600)}
                await watched.page.screenshot(path=FOLDER / name, full_page=True, clip=clip)  # type: ignore[arg-type]
                typer.echo(f"{FOLDER / name}: {(FOLDER / name).stat().st_size // 1024} KiB")


if __name__ == "__main__":
    asyncio.run(main())
