"""`python -m tests.bench.sizing`: the tables of deploy/SIZING.md, reckoned anew from what the bench measured.

Every formula is here; what goes into them is in sizing_figures.py, what was measured in sizing_markers.py. Only the
command reads a file or prints.
"""

import json
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from shared.events.forward_ledger import DEFAULT_SHARDS
from shared.process.settings import WorkerSettings
from tests.bench import sizing_figures as figures
from tests.bench.markdown import NOTHING, number, table
from tests.bench.outputs import FOLDER
from tests.bench.sizing_markers import markers


@dataclass(frozen=True, slots=True)
class Measured:
    """CPU time in milliseconds."""

    ingress_ms: float
    """Of the ingress, for a call of LogEvent."""

    worker_ms: float
    """Of the worker, for an event."""

    @property
    def ingress_rate(self) -> float:
        """Calls a second that an ingress is planned with: one event loop, so one vCPU."""
        return figures.HEADROOM * 1000 / self.ingress_ms

    @property
    def worker_rate(self) -> float:
        return figures.HEADROOM * 1000 / self.worker_ms


class Plan:
    """What an average of `events` a second takes, and what it costs in dollars a month."""

    def __init__(self, events: int, measured: Measured) -> None:
        self.events = events
        self.peak = figures.PEAK * events
        self.ingresses = max(figures.LEAST_INGRESSES, math.ceil(self.peak / measured.ingress_rate))
        self.workers = max(figures.WORKERS, math.ceil(self.peak / measured.worker_rate))
        self.units = (units(self.peak, figures.NODE_BATCHED_WRITES), units(self.peak, figures.NODE_WRITES))
        """Processing units: if commits batch as well as Google's own, and if each row costs as much as a commit."""
        self.published = self.peak * figures.MESSAGE_BYTES
        """Bytes a second at peak."""
        monthly = events * figures.MONTH_SECONDS
        self.stored = monthly * (figures.LOG_BYTES + figures.TIME_ENTRY_BYTES + figures.LEDGER_BYTES)
        """Bytes that a month adds, while no ledger row is deleted yet: in the first three."""
        self.months = [each / figures.NODE_UNITS * figures.NODE_STORED_BYTES / self.stored for each in self.units]
        """Months until the storage of those units is full."""

        self.nodes_cost = [
            each / figures.NODE_UNITS * figures.NODE_HOUR * figures.MONTH_SECONDS / 3600 for each in self.units
        ]
        self.stored_cost = self.stored / 1e9 * figures.STORED_GB_MONTH
        self.backups_cost = self.stored / 1e9 * figures.BACKUPS * figures.BACKUP_GB_MONTH
        """Storage and backups: for each month that a month's rows are kept."""
        # Ingresses scale with the load; the workers are there for the peak all the time.
        ingresses_on_average = max(figures.LEAST_INGRESSES, events / measured.ingress_rate)
        self.run_cost = figures.MONTH_SECONDS * (
            ingresses_on_average * figures.INGRESS_SECOND + self.workers * figures.WORKER_SECOND
        )
        self.pubsub_cost = 2 * monthly * figures.MESSAGE_BYTES / 2**40 * figures.MOVED_TIB
        self.logs_cost = max(0.0, monthly * figures.LINE_BYTES / 2**30 - figures.FREE_LOGGED_GIB) * figures.LOGGED_GIB
        self.parts_cost = (self.stored_cost, self.backups_cost, self.run_cost, self.pubsub_cost, self.logs_cost)
        self.google_cost = [each + sum(self.parts_cost) for each in self.nodes_cost]
        self.statsig_cost = figures.STATSIG_MONTH + max(0, monthly - figures.STATSIG_INCLUDED) * figures.STATSIG_EVENT


def node_events(node_writes: int) -> float:
    """Events a second of a node within the recommended CPU, which reads and writes share."""
    return figures.NODE_CPU / (figures.ROWS_WRITTEN / node_writes + figures.ROWS_READ / figures.NODE_READS)


def units(events: float, node_writes: int) -> int:
    """Processing units, which come in hundreds up to a node and in nodes from there on."""
    wanted = figures.NODE_UNITS * events / node_events(node_writes)
    step = 100 if wanted <= figures.NODE_UNITS else figures.NODE_UNITS
    return math.ceil(wanted / step) * step


@dataclass(frozen=True, slots=True)
class Limit:
    """The most events that a part carries with the defaults."""

    part: str
    events: float
    """Events a second, at peak."""

    moved_by: str
    is_counted: bool = True
    """Whether more instances, workers or units raise it."""


def limits(measured: Measured) -> list[Limit]:
    """With the defaults of deploy/terraform and of the settings; the lowest limit comes first."""
    lanes, batch = (WorkerSettings.model_fields[name].default for name in ("lanes", "batch_events"))
    share = figures.UNITS / figures.NODE_UNITS
    # Each index has its own end in each shard: the busier one is the limit.
    shard = figures.NODE_WRITES * figures.NODE_CPU / max(figures.PENDING_WRITES, figures.TIME_WRITES)
    found = (
        Limit(
            f"{figures.UNITS} units, row by row", share * node_events(figures.NODE_WRITES), "`spanner_processing_units`"
        ),
        Limit(
            f"{figures.UNITS} units, batched",
            share * node_events(figures.NODE_BATCHED_WRITES),
            "`spanner_processing_units`",
        ),
        Limit(
            f"{figures.WORKERS} workers, {lanes} batches of {batch} at once, {figures.BATCH_SECONDS:g} s each",
            figures.WORKERS * lanes * batch / figures.BATCH_SECONDS,
            "`worker_instances`, `LANES`",
        ),
        Limit(f"{figures.WORKERS} workers' CPU", figures.WORKERS * measured.worker_rate, "`worker_instances`"),
        Limit(f"{DEFAULT_SHARDS} shards", DEFAULT_SHARDS * shard, "`FORWARD_SHARDS`", is_counted=False),
        Limit(
            f"{figures.MOST_INGRESSES} ingresses, {figures.CALLS_AT_ONCE} calls at once, "
            f"{figures.CALL_SECONDS:g} s each",
            figures.MOST_INGRESSES * figures.CALLS_AT_ONCE / figures.CALL_SECONDS,
            "`ingress_max_instances`",
        ),
        Limit(
            f"{figures.MOST_INGRESSES} ingresses' CPU",
            figures.MOST_INGRESSES * measured.ingress_rate,
            "`ingress_max_instances`",
        ),
        Limit("Pub/Sub's quota", figures.TOPIC_BYTES / figures.MESSAGE_BYTES, "a request to Google", is_counted=False),
    )
    return sorted(found, key=lambda limit: limit.events)


def tables(measured: Measured) -> str:
    """A line with the planned rates, and three tables: capacity, cost, limits."""
    plans = [Plan(events, measured) for events in figures.AVERAGES]
    planned = (
        f"With {number(measured.ingress_ms)} ms a call and {number(measured.worker_ms)} ms an event, an ingress is "
        f"planned with {about(measured.ingress_rate)} calls/s and a worker with {about(measured.worker_rate)} events/s."
    )
    parts = (
        [planned],
        table(
            ("events/s", "ingresses", "workers", "Spanner nodes", "Pub/Sub at peak", "rows a month", "full after",
             "no count mends"),
            (_capacity(each, measured) for each in plans),
        ),
        table(
            ("events/s", "nodes", "storage", "backups", "Cloud Run", "Pub/Sub", "logs", "Google in all", "Statsig"),
            map(_cost, plans),
        ),
        table(
            ("as it comes", "peak events/s", "moved by"),
            ((each.part, about(each.events), each.moved_by) for each in limits(measured)),
        ),
    )  # fmt: skip
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _capacity(plan: Plan, measured: Measured) -> Sequence[str]:
    over = (each for each in limits(measured) if not each.is_counted and each.events < plan.peak)
    return (
        f"{plan.events:,}",
        f"{plan.ingresses:,}",
        f"{plan.workers:,}",
        _between(f"{each / figures.NODE_UNITS:,g}" for each in plan.units),
        f"{about(plan.published / 1e6)} MB/s, {about(100 * plan.published / figures.TOPIC_BYTES)} %",
        f"{about(plan.stored / 1e12)} TB",
        f"{_between(map(about, plan.months))} months",
        ", ".join(f"{each.part}, {about(plan.peak / each.events)} times over" for each in over) or NOTHING,
    )


def _cost(plan: Plan) -> Sequence[str]:
    return (
        f"{plan.events:,}",
        _between(map(about, plan.nodes_cost)),
        *map(about, plan.parts_cost),
        _between(map(about, plan.google_cost)),
        about(plan.statsig_cost),
    )


def _between(ends: Iterable[str]) -> str:
    return " to ".join(ends)


def about(value: float) -> str:
    """Rounded to two significant digits."""
    digits = 0 if value == 0 else 1 - math.floor(math.log10(abs(value)))
    rounded = round(value, digits)
    return f"{rounded:,.0f}" if abs(rounded) >= 10 or rounded == 0 else f"{rounded:g}"


def main(
    *,
    ingress_ms: Annotated[float | None, typer.Option(min=0.001, help="CPU of a LogEvent.")] = None,
    worker_ms: Annotated[float | None, typer.Option(min=0.001, help="CPU of an event in the worker.")] = None,
    json_file: Annotated[Path, typer.Option("--json", help="Of the bench, for what is not given.")] = FOLDER
    / "bench.json",
) -> None:
    """Print the tables, and before them the measured figures that the document names."""
    lines: list[str] = []
    if ingress_ms is None or worker_ms is None:
        try:
            found = markers(json.loads(json_file.read_text()))
            ingress_ms, worker_ms = ingress_ms or found["ingress_cpu_ms_at_128"], worker_ms or found["worker_cpu_ms"]
        except (FileNotFoundError, KeyError):
            raise typer.BadParameter(
                f"no such figures in {json_file}: run make bench, or give --ingress-ms and --worker-ms"
            ) from None
        lines = [*(f"{name} {number(value)}" for name, value in found.items()), ""]
    sys.stdout.write("\n".join([*lines, tables(Measured(ingress_ms, worker_ms))]))


if __name__ == "__main__":
    typer.run(main)
