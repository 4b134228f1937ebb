"""`python -m tests.bench.operators`: how long each operators' command takes with few rows and with many.

All rows but the dead ones and the latest few are delivered and old: they must not slow what an operator asks for.
"""

import base64
import json
import math
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final

import anyio
import typer
from google.cloud.spanner_v1 import COMMIT_TIMESTAMP

from deploy.local.emulators import running_emulators
from deploy.local.provision import StackNames, provisioner
from shared.events import forward_message
from shared.events.dead_letter_table import DEAD_LETTER_TABLE, LetterKind
from shared.events.forward_ledger import LEDGER_TABLE, forward_shard
from shared.process.settings import OperatorSettings, from_environment
from shared.spanner.connection import open_database
from shared.spanner.dead_letter_rows import INSERTED_COLUMNS
from shared.spanner.event_log import LOG_TABLE
from shared.spanner.mutations import insert
from tests.support.operators.nest_events import nest_events_from_nothing
from tests.support.sample_events import sample_event

ROWS_OF_A_COMMIT: Final = 100
DEAD_OF: Final = 10
"""One row in this many is dead, for one of REASONS."""

REASONS: Final = 10
PENDING: Final = 50
LATEST: Final = 500
"""Rows of the last hour; all others are from a month ago."""

LOG_COLUMNS: Final = ("event_id", "event_name", "actor_id", "event_ts", "ingested_at", "metadata", "forward_to_statsig",
                      "request_digest", "write_id", "caller", "log_shard")  # fmt: skip
LEDGER_COLUMNS: Final = ("event_id", "state", "pending_since", "settled_at", "attempts", "last_reason", "forward_shard")

COMMANDS: Final[dict[str, tuple[str, ...]]] = {
    "status": ("status", "--json"),
    "watch --once": ("watch", "--once", "--json"),
    "account": ("account", "--json"),
    "trace ID": ("trace", "{dead}", "--json"),
    "trace --event-name": ("trace", "--event-name", "name-3", "--since", "1h", "--json"),
    "dead-letters list": ("dead-letters", "list", "--json"),
    "dead-letters list --reason": ("dead-letters", "list", "--reason", "http_403", "--json"),
    "dead-letters show": ("dead-letters", "show", "{dead}", "--json"),
    "dead-letters replay (dry)": ("dead-letters", "replay", "--json"),
    "dead-letters replay --reason (dry)": ("dead-letters", "replay", "--reason", "http_403", "--json"),
    "reconcile --older-than 1h": ("reconcile", "--older-than", "1h", "--json"),
    "doctor": ("doctor", "--json"),
}


@dataclass
class Grown:
    """The rows that were written."""

    rows: int = 0
    dead: list[str] = field(default_factory=list)


def main(
    *,
    rows: Annotated[str, typer.Option(help="Numbers of rows, rising, with commas.")] = "2000,200000",
    only: Annotated[str, typer.Option(help="Commands whose name begins so, with commas; all where none.")] = "",
    rounds: Annotated[int, typer.Option(min=1, help="Of each command; the median is shown.")] = 3,
    json_file: Annotated[Path | None, typer.Option("--json", help="Where the seconds go.")] = None,
) -> None:
    """Prints a Markdown table: seconds of each command, with the start of its process, and the ratio."""
    stages = [int(number) for number in rows.split(",")]
    begins = tuple(only.split(","))
    commands = {name: arguments for name, arguments in COMMANDS.items() if name.startswith(begins)}
    found = anyio.run(_run, stages, commands, rounds)
    typer.echo(_table(stages, found))
    if json_file is not None:
        json_file.write_text(json.dumps(found, indent=2))


async def _run(stages: Sequence[int], commands: Mapping[str, Sequence[str]], rounds: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in commands}
    run_dir = Path(tempfile.mkdtemp(prefix="event-logging-operators-"))
    async with running_emulators(run_dir) as emulators, provisioner(emulators) as admin:
        names = StackNames.unique("ops")
        await admin.provision(names)
        environment = names.variables | emulators.variables
        settings = from_environment(OperatorSettings, environment)
        grown = Grown()
        for stage in stages:
            began = time.monotonic()
            async with open_database(settings) as database:
                await _grow(database, grown, stage)
            typer.echo(f"{stage} rows, {len(grown.dead)} dead, written in {time.monotonic() - began:.0f} s", err=True)
            for name, arguments in commands.items():
                found[name].append(
                    await _median(environment, [a.format(dead=grown.dead[0]) for a in arguments], rounds)
                )
                typer.echo(f"  {name}: {found[name][-1]:.2f} s", err=True)
    return found


async def _median(environment: dict[str, str], arguments: Sequence[str], rounds: int) -> float:
    took: list[float] = []
    for _ in range(rounds):
        began = time.monotonic()
        try:
            ran = await nest_events_from_nothing(environment, *arguments)
        except TimeoutError:
            return math.inf
        took.append(time.monotonic() - began)
        if "Traceback" in ran.err or ran.code not in (0, 1):
            raise RuntimeError(f"{arguments}: exit {ran.code}: {ran.err[-500:]}")
    return sorted(took)[len(took) // 2]


async def _grow(database: Any, grown: Grown, until: int) -> None:
    for start in range(grown.rows, until, ROWS_OF_A_COMMIT):
        log: list[tuple[object, ...]] = []
        ledger: list[tuple[object, ...]] = []
        letters: list[tuple[object, ...]] = []
        for number in range(start, min(start + ROWS_OF_A_COMMIT, until)):
            event_id = str(uuid.uuid4())
            log.append(_log_row(event_id, number))
            ledger.append(_ledger_row(event_id, number))
            letters += _letter_rows(event_id, number, grown)
        async with database.batch() as batch:
            insert(batch, LOG_TABLE, LOG_COLUMNS, log)
            insert(batch, LEDGER_TABLE, LEDGER_COLUMNS, ledger)
            if letters:
                insert(batch, DEAD_LETTER_TABLE, INSERTED_COLUMNS, letters)
    grown.rows = until


def _at(number: int) -> datetime:
    age = timedelta(minutes=number % 50) if number < LATEST else timedelta(days=30, seconds=number)
    return datetime.now(UTC) - age


def _log_row(event_id: str, number: int) -> tuple[object, ...]:
    at, name = _at(number), f"name-{number % 20}"
    caller = f"caller-{number % 7}@example.com"
    return (event_id, name, f"user-{number % 999}", at, at, '{"n":1}', True, "d", "w", caller, forward_shard(event_id))


def _ledger_row(event_id: str, number: int) -> tuple[object, ...]:
    shard, at = forward_shard(event_id), _at(number)
    if number % DEAD_OF == 0:
        return (event_id, "DEAD", None, at, 1, _reason(number), shard)
    if number < PENDING:
        return (event_id, "PENDING", COMMIT_TIMESTAMP, None, 0, None, shard)
    return (event_id, "DELIVERED", None, at, 1, "http_202", shard)


def _letter_rows(event_id: str, number: int, grown: Grown) -> Iterator[tuple[object, ...]]:
    if number % DEAD_OF:
        return
    grown.dead.append(event_id)
    message = forward_message.encode(sample_event(event_id=event_id, name=f"name-{number % 20}"))
    attributes = [text for pair in message.attributes.items() for text in pair]
    yield (
        event_id, f"m-{number}", LetterKind.REASONED.value, _reason(number), _at(number), event_id,
        f"name-{number % 20}", f"caller-{number % 7}@example.com", base64.b64encode(message.data).decode(), attributes,
        COMMIT_TIMESTAMP, None, None, forward_shard(event_id) % 16,
    )  # fmt: skip


def _reason(number: int) -> str:
    return f"http_{400 + number // DEAD_OF % REASONS}"


def _table(stages: Sequence[int], found: dict[str, list[float]]) -> str:
    lines = [
        "| command | " + " | ".join(f"{stage:,} rows" for stage in stages) + " | ratio |",
        "| --- |" + " ---: |" * (len(stages) + 1),
    ]
    lines += [
        f"| `{name}` | " + " | ".join(f"{each:.2f} s" for each in took) + f" | {took[-1] / took[0]:.2f} |"
        for name, took in found.items()
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(main)
