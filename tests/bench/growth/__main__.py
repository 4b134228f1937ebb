"""`python -m tests.bench.growth`, `make bench-growth`: a few measures with growing numbers of rows in the tables."""

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import anyio
import typer

from deploy.local.emulators import running_emulators
from deploy.local.errors import LocalStackError
from tests.bench.bench import Bench
from tests.bench.display import display
from tests.bench.errors import BenchError
from tests.bench.growth.chart import growth_chart
from tests.bench.growth.report import FEWEST, MOST, GrowthRun, as_json, report
from tests.bench.growth.stages import MEASURES, grow
from tests.bench.machine import this_machine
from tests.bench.options import DEFAULT_ROUNDS, DEFAULT_SECONDS, Options
from tests.bench.outputs import FOLDER, write, write_json
from tests.bench.results import Results
from tests.bench.wrk import wrk_program

DEFAULT_ROWS = f"{FEWEST},{MOST // 10},{MOST}"
DEFAULT_BACKLOG = 5000


def main(
    *,
    rows: Annotated[str, typer.Option(help="Numbers of rows, rising, with commas.")] = DEFAULT_ROWS,
    rounds: Annotated[int, typer.Option(min=1, help="Of each measure.")] = DEFAULT_ROUNDS,
    seconds: Annotated[int, typer.Option(min=1, help="Of one load on the ingress.")] = DEFAULT_SECONDS,
    backlog: Annotated[int, typer.Option(min=1000, help="Events of one drain.")] = DEFAULT_BACKLOG,
    markdown: Annotated[Path, typer.Option(help="Where the report goes too.")] = FOLDER / "growth.md",
    json_file: Annotated[Path, typer.Option("--json", help="Where all figures go.")] = FOLDER / "growth.json",
    chart_file: Annotated[Path, typer.Option("--chart", help="Where the chart goes.")] = FOLDER / "growth.svg",
) -> None:
    """Exits with 0 if all was measured, as far as the memory's bound allows, 1 if not, 2 if it cannot run here."""
    try:
        stages = _stages(rows)
        wrk_program()
        run = anyio.run(_run, stages, Options(rounds=rounds, seconds=seconds, backlog=backlog))
    except (BenchError, LocalStackError) as error:
        print(error, file=sys.stderr)
        raise typer.Exit(2) from None
    text = report(run)
    print(text)
    write(markdown, text)
    write_json(json_file, as_json(run))
    write(chart_file, growth_chart(run.curves()))
    print(f"Written: {markdown}, {json_file}, {chart_file}", file=sys.stderr)
    raise typer.Exit(int(bool(run.results.failures)))


async def _run(stages: Sequence[int], options: Options) -> GrowthRun:
    machine, began = this_machine(), time.monotonic()
    run_dir = Path(tempfile.mkdtemp(prefix="event-logging-growth-"))
    results = Results()
    async with running_emulators(run_dir / "emulators") as emulators:
        with display(len(stages) * len(MEASURES) * options.rounds) as shown:
            shown.note(f"Logs in {run_dir}")
            tables = await grow(Bench(options, run_dir, emulators, results, shown), stages)
            if tables.stopped:
                shown.note(tables.stopped)
    return GrowthRun(
        options=options,
        machine=machine,
        results=results,
        stages=stages,
        stopped=tables.stopped,
        seconds=time.monotonic() - began,
    )


def _stages(named: str) -> Sequence[int]:
    try:
        stages = [int(number.replace("_", "")) for number in named.split(",")]
    except ValueError:
        raise BenchError(f"--rows wants whole numbers with commas, not {named}") from None
    if stages != sorted(set(stages)) or stages[0] < 1:
        raise BenchError("--rows wants numbers that rise")
    return stages


if __name__ == "__main__":
    typer.run(main)
