"""`python -m tests.faults`: runs rows of the fault matrix one after the other and ends in one table."""

import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import anyio
import typer

from deploy.local.emulators import running_emulators
from deploy.local.errors import LocalStackError
from tests.faults.altered import GUARDS
from tests.faults.guards import ROWS_OF_GUARD, arguments_without
from tests.faults.left_out import LEFT_OUT
from tests.faults.progress import display
from tests.faults.row import DEFAULT_SEEDS, Row
from tests.faults.rows import ROWS, chosen
from tests.faults.run import DEFAULT_EVENTS, RunOptions, run_row
from tests.faults.table import table
from tests.faults.verdict import RunVerdict, not_run
from tests.support.emulators.pubsub_manners.manners import Manners

USUAL_SEEDS = ",".join(map(str, DEFAULT_SEEDS))


def main(
    *,
    rows: Annotated[str, typer.Option(help="Rows by id, or by the beginning of it; all where none is named.")] = "",
    events: Annotated[int, typer.Option(min=10, help="Events of each run.")] = DEFAULT_EVENTS,
    seeds: Annotated[str, typer.Option(help=f"A run of each row for each; {USUAL_SEEDS}, or the row's own.")] = "",
    markdown: Annotated[Path | None, typer.Option(help="Where the table goes too.")] = None,
    without: Annotated[str, typer.Option(help=f"Turn a guard off; one of {', '.join(GUARDS)}.")] = "",
    full: Annotated[bool, typer.Option(help="The scenarios as long as the promise says.")] = False,
    manners: Annotated[bool, typer.Option(help="Pub/Sub behaves as the real one, not as the emulator.")] = False,
) -> None:
    """Exits with 0 if every row that this machine can run holds; with --without, if at least one fails."""
    if without and without not in GUARDS:
        raise typer.BadParameter(f"no guard {without}; there are {', '.join(GUARDS)}")
    named = chosen(rows or (",".join(ROWS_OF_GUARD[without]) if without else ""))
    impossible = {row.id: why for row in named if (why := row.cannot_run()) is not None}
    wanted = tuple(row for row in named if row.id not in impossible)
    options = RunOptions(
        events=events,
        full=full,
        arguments_of=arguments_without(without) if without else {},
        manners=Manners() if manners else None,
    )
    numbers = [int(seed) for seed in seeds.split(",")] if seeds else []
    runs = [(row, seed) for row in wanted for seed in numbers or row.seeds]
    try:
        verdicts = anyio.run(_run, runs, options)
    except LocalStackError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(2) from None
    text = table(verdicts, LEFT_OUT | impossible)
    print(text)
    if markdown is not None:
        markdown.write_text(text)
    failed = any(verdict.breaches for verdict in verdicts)
    if without:
        print(f"Without the guard '{without}' the lab {'sees it' if failed else 'SEES NOTHING'}.", file=sys.stderr)
    # A run without rows is no success.
    raise typer.Exit(int(not verdicts or failed != bool(without)))


async def _run(runs: list[tuple[Row, int]], options: RunOptions) -> list[RunVerdict]:
    verdicts: list[RunVerdict] = []
    run_dir = Path(tempfile.mkdtemp(prefix="fault-lab-"))
    print(f"Logs in {run_dir}, {len(runs)} runs", file=sys.stderr)
    with display(len(runs)) as shown:
        for row, seed in runs:
            shown.begins(f"{row.id} seed {seed}: {row.title}")
            began = time.monotonic()
            row_dir = run_dir / f"{row.id}-{seed}"
            try:
                # A pair for each row: Spanner's clock runs ahead of the machine's with each call, and reads wait for
                # it. In one pair 50,000 events had come to 0.2 s a read, and a matrix has four times as many.
                async with running_emulators(row_dir / "emulators") as emulators:
                    verdict = await run_row(row, seed=seed, emulators=emulators, run_dir=row_dir, options=options)
            except (LocalStackError, TimeoutError, ExceptionGroup) as error:
                # A row that breaks off must not lose the results of the others.
                verdict = not_run(row, seed, error)
            verdicts.append(verdict)
            shown.ended(verdict, time.monotonic() - began)
    return verdicts


assert len({row.id for row in ROWS}) == len(ROWS)

if __name__ == "__main__":
    typer.run(main)
