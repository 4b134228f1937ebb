"""`nest-events watch`: one screen on what goes on now, refreshed."""

from collections.abc import Iterator
from typing import Any

import anyio
from rich.console import Console
from rich.live import Live
from rich.text import Text

from shared.worker_states import SeenWorker
from worker.operators.connections import Connections
from worker.operators.durations import moment, parse_age, shown
from worker.operators.exits import OK, UsageError
from worker.operators.situation import Situation, situation
from worker.operators.terminal import bar, clean, is_terminal, say, show_json
from worker.operators.workers import running, worker_as_dict, worker_lines


async def watch_events(connections: Connections, *, interval: float, window: str, once: bool, as_json: bool) -> int:
    """One screen after another until cancelled, or one with `once`."""
    lately = parse_age(window)
    if not lately:
        raise UsageError(f"--window {window}: must be longer than nothing")

    async def look() -> tuple[Situation, list[SeenWorker]]:
        timeout = connections.settings.commit_timeout_seconds
        seen = await situation(connections.database, window=lately, timeout_seconds=timeout)
        return seen, running(await connections.worker_states.seen())

    if once or not is_terminal():
        while True:
            _print(*await look(), as_json=as_json)
            if once:
                return OK
            await anyio.sleep(interval)
    with Live(console=Console(highlight=False), auto_refresh=False, screen=True) as screen:
        while True:
            lines = frame(*await look())
            screen.update(Text("\n".join(clean(line) for line in lines)), refresh=True)
            await anyio.sleep(interval)


def _print(seen: Situation, workers: list[SeenWorker], *, as_json: bool) -> None:
    if as_json:
        show_json(as_dict(seen, workers))
    else:
        for line in frame(seen, workers):
            say(line)


def as_dict(seen: Situation, workers: list[SeenWorker]) -> dict[str, Any]:
    """As a document."""
    return {
        "at": seen.at,
        "window_seconds": int(seen.window.total_seconds()),
        "accepted": seen.accepted,
        "delivered": seen.delivered,
        "dead": seen.dead,
        "pending": seen.pending,
        "oldest_pending_seconds": None if seen.oldest_pending is None else seen.oldest_pending.total_seconds(),
        "held_up_by": seen.held_up_by,
        "workers": [worker_as_dict(worker) for worker in workers],
        "dead_by_reason": seen.dead_by_reason,
        "last_errors": seen.last_errors,
    }


def frame(seen: Situation, workers: list[SeenWorker]) -> Iterator[str]:
    """The screen's lines."""
    seconds = seen.window.total_seconds()
    yield f"nest-events watch   {moment(seen.at)}"
    yield ""
    yield f"Within {shown(seen.window)}"
    for name, count in (("accepted", seen.accepted), ("delivered", seen.delivered), ("dead", seen.dead)):
        yield f"  {name:<10} {count:>8}   {count / seconds:.1f}/s"
    yield ""
    oldest = "" if seen.oldest_pending is None else f", the oldest for {shown(seen.oldest_pending)}"
    yield f"Pending      {seen.pending}{oldest}"
    for each in sorted(seen.waiting, key=lambda each: -each.events):
        tried = "" if each.last_attempt_at is None else f", last tried {shown(seen.at - each.last_attempt_at)} ago"
        yield f"  {each.reason or 'not tried yet':<24} {each.events:>8}{tried}"
    if seen.held_up_by is not None:
        yield f"Held up      attempts end with {seen.held_up_by}"
    yield ""
    yield from worker_lines(workers)
    yield ""
    yield f"Dead letters {sum(seen.dead_by_reason.values())}"
    largest = max(seen.dead_by_reason.values(), default=0)
    for reason, count in seen.dead_by_reason.items():
        yield f"  {reason:<24} {count:>8} {bar(count, largest)}"
    if seen.last_errors:
        yield ""
        yield "Last errors"
        for reason, at in list(seen.last_errors.items())[:5]:
            yield f"  {reason:<24} {shown(seen.at - at)} ago"
