"""`python -m tests.bench.sizing`: the tables of deploy/SIZING.md, reckoned anew from what the bench measured.

Pure but for the command. Each constant says where it comes from: counted in the code (a test counts again), documented
(the page, as it was stored or quoted on the date), or assumed. Long for those.
"""

import json
import math
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from shared.events.forward_ledger import DEFAULT_SHARDS
from shared.process.settings import WorkerSettings
from tests.bench.markdown import NOTHING, number, table
from tests.bench.measures import batches, calls, confirmation, drains, memory, payloads
from tests.bench.outputs import FOLDER
from tests.bench.results import CPU_MS, MIB, P50_MS, P99_MS, RATE, Key
from tests.bench.ways import THIS, THIS_WORKER

AVERAGES: Final = (100, 1_000, 10_000, 100_000, 1_000_000)
"""Events a second."""

PEAK: Final = 3
"""Assumed: the busiest minute has three times the average."""

HEADROOM: Final = 0.6
"""Assumed: the share of a vCPU that is planned with. The rest is for deployments, retries and a slower processor."""

MONTH_SECONDS: Final = 730 * 3600
"""As Google reckons one (cloud.google.com/spanner/docs/cuds)."""

# Counted in the code, for the bench's usual event.

ROWS_WRITTEN: Final = 7
"""Log row and its entry by time, ledger row and its pending entry; the claim; the settled ledger row and the end of its
pending entry. Nothing of NestEventForwardDead, unless it dies."""

ROWS_READ: Final = 1
"""The ledger row, by the claim."""

PENDING_WRITES: Final = 2
TIME_WRITES: Final = 1
"""Of the seven, those at the end of a shard of NestEventForwardPending, and of NestEventLogByTime."""

LOG_BYTES: Final = 758
TIME_ENTRY_BYTES: Final = 168
LEDGER_BYTES: Final = 360
"""A row, or an entry with what it stores, as Spanner keeps it: each value and 8 bytes (cloud.google.com/spanner/docs/
reference/standard-sql/data-types). The ledger row is deleted 90 days after it was settled, the other two never."""

MESSAGE_BYTES: Final = 600
"""A forward message as Pub/Sub bills it: body, attributes, 20 for its time, some 18 for its id."""

LINE_BYTES: Final = 343
"""A call's log line."""

# Spanner in one region, on SSD.

NODE_WRITES: Final = 3_500
NODE_BATCHED_WRITES: Final = 22_500
NODE_READS: Final = 22_500
"""Rows of 1 KB a second at 100 % CPU, and batched by a commit delay of 100 ms (cloud.google.com/spanner/docs/
performance, August 2026)."""

NODE_CPU: Final = 0.65
"""The most that is recommended (cloud.google.com/spanner/docs/cpu-utilization)."""

NODE_STORED_BYTES: Final = 10 * 2**40
"""cloud.google.com/spanner/quotas; of 100 units a tenth."""

NODE_HOUR: Final = 0.90
"""$, us-central1, Standard (cloud.google.com/spanner/docs/cuds, August 2026)."""

STORED_GB_MONTH: Final = 3 * 0.10
"""$, three replicas (cloud.google.com/spanner, August 2026)."""

BACKUP_GB_MONTH: Final = 0.10
"""$, all replicas (as above). Each full backup is a whole one (cloud.google.com/spanner/docs/backup)."""

# Cloud Run and Cloud Logging.

INGRESS_SECOND: Final = 1 * 0.000018 + 2 * 0.000002
"""$, 1 vCPU and 2 GiB, billed by the instance (cloud.google.com/run/pricing, quoted in 2026)."""

WORKER_SECOND: Final = 1 * 0.000011244 + 1 * 0.000001235
"""$, 1 vCPU and 1 GiB of a worker pool (cloud.google.com/run/pricing, quoted in 2026)."""

LOGGED_GIB: Final = 0.50
FREE_LOGGED_GIB: Final = 50
"""$, and what is free each month (cloud.google.com/stackdriver/pricing, quoted on 12 September 2026)."""

# Pub/Sub.

TOPIC_BYTES: Final = 4_000_000_000
"""A second that may be published in a large region, and as much pulled (cloud.google.com/pubsub/quotas, quoted in
2026)."""

MOVED_TIB: Final = 40.0
"""$, published and pulled alike (cloud.google.com/pubsub/pricing, quoted on 20 September 2026)."""

# Statsig.

STATSIG_MONTH: Final = 150.0
STATSIG_INCLUDED: Final = 5_000_000
STATSIG_EVENT: Final = 0.05 / 1000
"""$, the Pro plan (statsig.com/pricing, quoted on 5 May 2026)."""

# What deploy/terraform gives by default.

UNITS: Final = 100
MOST_INGRESSES: Final = 20
LEAST_INGRESSES: Final = 1
WORKERS: Final = 2
CALLS_AT_ONCE: Final = 64
BACKUPS: Final = 14
"""Full ones, a day each."""

CALL_SECONDS: Final = 0.05
"""Assumed: a call at peak, most of it the commit and the wait for its turn."""

BATCH_SECONDS: Final = 0.3
"""Assumed: from the claim of a batch to its settling, with Statsig's answer in between."""

NODE_UNITS: Final = 1_000

MARKERS: Final = {
    "ingress_cpu_ms_at_128": (Key(calls.NAME, calls.MOST, THIS.name), CPU_MS),
    "ingress_calls_per_s_at_128": (Key(calls.NAME, calls.MOST, THIS.name), RATE),
    "p99_ms_at_128": (Key(calls.NAME, calls.MOST, THIS.name), P99_MS),
    "lone_p50_ms": (Key(calls.NAME, calls.LONE, THIS.name), P50_MS),
    "log_events_cpu_ms": (Key(batches.NAME, batches.CASE, THIS.name), CPU_MS),
    "large_cpu_ms": (Key(payloads.NAME, "64 KiB", THIS.name), CPU_MS),
    "worker_cpu_ms": (Key(drains.NAME, drains.CASE, THIS_WORKER.name), CPU_MS),
    "worker_events_per_s": (Key(drains.NAME, drains.CASE, THIS_WORKER.name), RATE),
    "confirmation_p50_ms": (Key(confirmation.NAME, confirmation.CASE, THIS.name), P50_MS),
    "memory_mib": (Key(memory.NAME, memory.LATE, THIS.name), MIB),
}
"""The measured figures of the document, by the names that stand for them in it: where the bench's JSON has them."""


@dataclass(frozen=True, slots=True)
class Measured:
    """CPU time of a process in milliseconds."""

    ingress_ms: float
    """Of a call of LogEvent."""

    worker_ms: float
    """Of an event."""

    @property
    def ingress_rate(self) -> float:
        """Calls a second that an ingress is planned with: one event loop, so one vCPU."""
        return HEADROOM * 1000 / self.ingress_ms

    @property
    def worker_rate(self) -> float:
        return HEADROOM * 1000 / self.worker_ms


class Plan:
    """What so many events a second take, on average; and dollars a month."""

    def __init__(self, events: int, measured: Measured) -> None:
        self.events = events
        self.peak = PEAK * events
        self.ingresses = max(LEAST_INGRESSES, math.ceil(self.peak / measured.ingress_rate))
        self.workers = max(WORKERS, math.ceil(self.peak / measured.worker_rate))
        self.units = (units(self.peak, NODE_BATCHED_WRITES), units(self.peak, NODE_WRITES))
        """If commits batch as well as Google's own, and if each row costs as much as a commit of its own."""
        self.published = self.peak * MESSAGE_BYTES
        """Bytes a second at peak."""
        monthly = events * MONTH_SECONDS
        self.stored = monthly * (LOG_BYTES + TIME_ENTRY_BYTES + LEDGER_BYTES)
        """Bytes that a month adds, in the first three."""
        self.months = [each / NODE_UNITS * NODE_STORED_BYTES / self.stored for each in self.units]
        """Until those units are full."""

        self.nodes_cost = [each / NODE_UNITS * NODE_HOUR * MONTH_SECONDS / 3600 for each in self.units]
        self.stored_cost = self.stored / 1e9 * STORED_GB_MONTH
        self.backups_cost = self.stored / 1e9 * BACKUPS * BACKUP_GB_MONTH
        """Both for each month that a month's rows are kept."""
        # Ingresses come and go with the load, workers are there for the peak all the time.
        ingresses_on_average = max(LEAST_INGRESSES, events / measured.ingress_rate)
        self.run_cost = MONTH_SECONDS * (ingresses_on_average * INGRESS_SECOND + self.workers * WORKER_SECOND)
        self.pubsub_cost = 2 * monthly * MESSAGE_BYTES / 2**40 * MOVED_TIB
        self.logs_cost = max(0.0, monthly * LINE_BYTES / 2**30 - FREE_LOGGED_GIB) * LOGGED_GIB
        self.parts_cost = (self.stored_cost, self.backups_cost, self.run_cost, self.pubsub_cost, self.logs_cost)
        self.google_cost = [each + sum(self.parts_cost) for each in self.nodes_cost]
        self.statsig_cost = STATSIG_MONTH + max(0, monthly - STATSIG_INCLUDED) * STATSIG_EVENT


def node_events(node_writes: int) -> float:
    """Events a second of a node within the recommended CPU; reads and writes share it."""
    return NODE_CPU / (ROWS_WRITTEN / node_writes + ROWS_READ / NODE_READS)


def units(events: float, node_writes: int) -> int:
    """Processing units, which come in hundreds up to a node and in nodes from there on."""
    wanted = NODE_UNITS * events / node_events(node_writes)
    step = 100 if wanted <= NODE_UNITS else NODE_UNITS
    return math.ceil(wanted / step) * step


@dataclass(frozen=True, slots=True)
class Limit:
    """What one part carries as it comes."""

    part: str
    events: float
    """A second, at peak."""

    moved_by: str
    is_counted: bool = True
    """Whether more instances, workers or units mend it."""


def limits(measured: Measured) -> list[Limit]:
    """With the defaults of deploy/terraform and of the settings; what gives out first comes first."""
    lanes, batch = (WorkerSettings.model_fields[name].default for name in ("lanes", "batch_events"))
    share = UNITS / NODE_UNITS
    # Each index has an end of its own in each shard: the busier one gives out first.
    shard = NODE_WRITES * NODE_CPU / max(PENDING_WRITES, TIME_WRITES)
    found = (
        Limit(f"{UNITS} units, row by row", share * node_events(NODE_WRITES), "`spanner_processing_units`"),
        Limit(f"{UNITS} units, batched", share * node_events(NODE_BATCHED_WRITES), "`spanner_processing_units`"),
        Limit(
            f"{WORKERS} workers, {lanes} batches of {batch} at once, {BATCH_SECONDS:g} s each",
            WORKERS * lanes * batch / BATCH_SECONDS,
            "`worker_instances`, `LANES`",
        ),
        Limit(f"{WORKERS} workers' CPU", WORKERS * measured.worker_rate, "`worker_instances`"),
        Limit(f"{DEFAULT_SHARDS} shards", DEFAULT_SHARDS * shard, "`FORWARD_SHARDS`", is_counted=False),
        Limit(
            f"{MOST_INGRESSES} ingresses, {CALLS_AT_ONCE} calls at once, {CALL_SECONDS:g} s each",
            MOST_INGRESSES * CALLS_AT_ONCE / CALL_SECONDS,
            "`ingress_max_instances`",
        ),
        Limit(f"{MOST_INGRESSES} ingresses' CPU", MOST_INGRESSES * measured.ingress_rate, "`ingress_max_instances`"),
        Limit("Pub/Sub's quota", TOPIC_BYTES / MESSAGE_BYTES, "a request to Google", is_counted=False),
    )
    return sorted(found, key=lambda limit: limit.events)


def tables(measured: Measured) -> str:
    """Three tables with a line before them: what it takes, what it costs, what gives out first."""
    plans = [Plan(events, measured) for events in AVERAGES]
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
        _between(f"{each / NODE_UNITS:,g}" for each in plan.units),
        f"{about(plan.published / 1e6)} MB/s, {about(100 * plan.published / TOPIC_BYTES)} %",
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
    """With two significant digits."""
    digits = 0 if value == 0 else 1 - math.floor(math.log10(abs(value)))
    rounded = round(value, digits)
    return f"{rounded:,.0f}" if abs(rounded) >= 10 or rounded == 0 else f"{rounded:g}"


def markers(run: Mapping[str, Any]) -> dict[str, float]:
    """By name, those of MARKERS that the bench's JSON has: medians of the rounds."""
    found: dict[str, float] = {}
    for name, (key, figure) in MARKERS.items():
        values = [
            sample[figure]
            for sample in run["samples"]
            if (sample["measure"], sample["case"], sample["way"]) == (key.measure, key.case, key.way)
            and figure in sample
        ]
        if values:
            found[name] = statistics.median(values)
    return found


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
