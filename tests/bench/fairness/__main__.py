"""`python -m tests.bench.fairness`: the latency of a polite caller's calls while another caller floods the ingress."""

import sys
import tempfile
from pathlib import Path
from typing import Annotated, Final

import anyio
import typer

from deploy.local.emulators import running_emulators
from deploy.local.errors import LocalStackError
from tests.bench.bench import words
from tests.bench.errors import BenchError
from tests.bench.fairness.loads import LOADS, FloodLoad
from tests.bench.fairness.measuring import Beside, measure
from tests.bench.fairness.polite import call_politely
from tests.bench.fairness.report import report
from tests.bench.machine import this_machine
from tests.bench.ways import THIS
from tests.bench.world import open_world

DEFAULT_SECONDS: Final = 10.0
"""Seconds of each measurement: some four hundred calls, of which four are above the 99th percentile."""

WARM_UP_SECONDS: Final = 3.0

LOWEST_PRIORITY: Final = 19
"""nice(2): the process runs where no other one wants to."""


def main(
    *,
    only: Annotated[str, typer.Option(help="A part of the names of the loads to measure; all without.")] = "",
    seconds: Annotated[float, typer.Option(min=1, help="Of each measurement.")] = DEFAULT_SECONDS,
    yielding: Annotated[
        bool, typer.Option("--yielding", help="Run the flood with the lowest priority: it stands for another machine.")
    ] = False,
) -> None:
    """Prints a table in Markdown. Exits with 2 where it cannot be measured."""
    loads = [load for load in LOADS if only in load.name]
    try:
        measured = anyio.run(_run, loads, seconds, LOWEST_PRIORITY if yielding else 0)
    except (BenchError, LocalStackError) as error:
        print(error, file=sys.stderr)
        raise typer.Exit(2) from None
    print("\n".join(report(measured)))
    print(f"\n{this_machine()}{'; the flood had the lowest priority' if yielding else ''}")


async def _run(loads: list[FloodLoad], seconds: float, niceness: int) -> list[Beside]:
    run_dir = Path(tempfile.mkdtemp(prefix="event-logging-fairness-"))
    measured: list[Beside] = []
    for number, load in enumerate(loads):
        # New processes and emulators for each load, so that none is slowed by an earlier one.
        own_dir = run_dir / f"{number:02}"
        async with (
            running_emulators(own_dir / "emulators") as emulators,
            open_world(emulators, own_dir, keeps_messages=False) as world,
        ):
            server = await world.serve(THIS, keeps_log=False)
            await call_politely(int(server.url.rpartition(":")[2]), WARM_UP_SECONDS)
            print(f"{load.name} ...", file=sys.stderr)
            try:
                measured.append(await measure(world, server, load, seconds, niceness=niceness))
            except Exception as error:  # noqa: BLE001 - whatever it is, the others are still measured
                print(f"{load.name}: {words(error)}", file=sys.stderr)
    return measured


if __name__ == "__main__":
    typer.run(main)
