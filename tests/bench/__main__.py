"""`python -m tests.bench`, `make bench`: the service beside its peers and its limits, on real processes, in turns."""

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
from tests.bench import chart
from tests.bench.bench import Bench, Measure, run_measure
from tests.bench.display import display
from tests.bench.errors import BenchError
from tests.bench.machine import this_machine
from tests.bench.measures.chosen import MEASURES, chosen
from tests.bench.options import DEFAULT_BACKLOG, DEFAULT_MEMORY_SECONDS, DEFAULT_ROUNDS, DEFAULT_SECONDS, Options
from tests.bench.outputs import FOLDER, as_json, drained_growth, write, write_json
from tests.bench.report import Run, report
from tests.bench.results import Results
from tests.bench.ways import NAMES
from tests.bench.wrk import wrk_program


def main(
    *,
    only: Annotated[
        str, typer.Option(help=f"Measures, with commas; all of {', '.join(each.name for each in MEASURES)}.")
    ] = "",
    ways: Annotated[str, typer.Option(help=f"Ways, with commas; all of {', '.join(NAMES)}.")] = "",
    rounds: Annotated[int, typer.Option(min=1, help="In which each way is measured once.")] = DEFAULT_ROUNDS,
    seconds: Annotated[int, typer.Option(min=1, help="Of one load.")] = DEFAULT_SECONDS,
    backlog: Annotated[int, typer.Option(min=1000, help="Events of one drain.")] = DEFAULT_BACKLOG,
    memory_seconds: Annotated[int, typer.Option(min=1, help="Of the load of `memory`.")] = DEFAULT_MEMORY_SECONDS,
    markdown: Annotated[Path, typer.Option(help="Where the report goes too.")] = FOLDER / "bench.md",
    json_file: Annotated[Path, typer.Option("--json", help="Where all figures go.")] = FOLDER / "bench.json",
    chart_file: Annotated[Path, typer.Option("--chart", help="Where the chart goes.")] = FOLDER / "bench.svg",
) -> None:
    """Exits with 0 if all was measured, 1 if something was not, 2 if the bench cannot run here."""
    try:
        measures = chosen(only)
        options = Options(
            rounds=rounds, seconds=seconds, backlog=backlog, memory_seconds=memory_seconds, ways=_ways(ways)
        )
        wrk_program()
        run = anyio.run(_run, measures, options)
    except (BenchError, LocalStackError) as error:
        print(error, file=sys.stderr)
        raise typer.Exit(2) from None
    text = report(run)
    print(text)
    write(markdown, text)
    write_json(json_file, as_json(run))
    write(chart_file, chart.bench_chart(run.results))
    print(f"Written: {markdown}, {json_file}, {chart_file}", file=sys.stderr)
    raise typer.Exit(int(bool(run.results.failures)))


async def _run(measures: Sequence[Measure], options: Options) -> Run:
    machine, began = this_machine(), time.monotonic()
    run_dir = Path(tempfile.mkdtemp(prefix="event-logging-bench-"))
    results = Results()
    with display(sum(measure.steps(options) for measure in measures)) as shown:
        shown.note(f"Logs in {run_dir}")
        if not machine.is_quiet:
            shown.note(f"The machine is not quiet (load average {machine.load_before:.1f}): figures will be off.")
        for measure in measures:
            # Emulators of its own: Spanner's clock runs ahead of the machine's with each call, and reads wait for it.
            # Behind all other measures an event took three times as long.
            async with running_emulators(run_dir / measure.name / "emulators") as emulators:
                await run_measure(Bench(options, run_dir / measure.name, emulators, results, shown), measure)
    return Run(
        options=options,
        machine=machine,
        results=results,
        seconds=time.monotonic() - began,
        growth=drained_growth(FOLDER / "growth.json"),
    )


def _ways(named: str) -> frozenset[str]:
    wanted = frozenset(name.strip() for name in named.split(",") if name.strip())
    if unknown := wanted - set(NAMES):
        raise BenchError(f"no way {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    return wanted


if __name__ == "__main__":
    typer.run(main)
