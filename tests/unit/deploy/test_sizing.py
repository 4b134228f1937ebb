"""The capacity tables: they follow from what was measured, their constants are the code's, and SIZING.md has them."""

import json
import re
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from deploy import schema
from deploy.local.stack import REPOSITORY
from ingress.normalization import Defaults, normalize_log_event_request
from shared.events import forward_message
from shared.events.attempt_history import HistoryEntry, HistoryKind
from shared.events.event import Caller, CallerSource, EventLogRow
from shared.events.forward_ledger import DEFAULT_SHARDS, LEDGER_TABLE, DeliveryRecord, ForwardState
from shared.gen.events.v1.event_logging_pb import LogEventRequest
from shared.process.logs import get_logger
from shared.spanner import forward_ledger_rows as ledger
from shared.spanner.event_log import _BORN_COLUMNS, LOG_COLUMNS, LOG_TABLE, _born_pending, _log_values
from tests.bench import sizing_figures as figures
from tests.bench.bodies import usual_event
from tests.bench.sizing import Measured, Plan, about, limits, tables, units
from tests.bench.sizing_markers import MARKERS, markers
from tests.support.parsers.hcl import read_module
from tests.support.row_sizes import SHARD, entries, indexes, stored_bytes
from tests.support.wire.ingress import captured_log

DOCUMENT: Final = REPOSITORY / "deploy" / "SIZING.md"

TERRAFORM: Final = REPOSITORY / "deploy" / "terraform"

SHARDS: Final = f"{DEFAULT_SHARDS} shards"

MEASURED: Final = Measured(ingress_ms=0.5, worker_ms=0.2)

CALLER: Final = Caller("shop@my-project.iam.gserviceaccount.com", CallerSource.CLOUD_RUN_IAM)

NOW: Final = datetime(2026, 11, 28, 20, 42, 3, 123456, UTC)


def usual_row() -> EventLogRow:
    request = LogEventRequest.from_json(json.dumps(usual_event()))
    defaults = Defaults(forward_to_statsig=True, max_metadata_bytes=65_536)
    nanos = int(NOW.timestamp()) * 10**9 + 1
    return normalize_log_event_request(request, caller=CALLER, now_nanos=nanos, defaults=defaults)


def settled_row(state: ForwardState = ForwardState.DELIVERED) -> tuple[object, ...]:
    """Of an event that was confirmed at once, or as long where it died."""
    history = (HistoryEntry(HistoryKind.ATTEMPT, NOW, "confirmed", "confirmed", 202),)
    attempt = DeliveryRecord(usual_row().event.event_id, 1, 0, NOW, "confirmed", 202, history)
    return next(iter(ledger.settled([attempt], state)))


def test_more_events_want_more_of_everything() -> None:
    small, large = Plan(1_000, MEASURED), Plan(100_000, MEASURED)

    assert (small.ingresses, large.ingresses) == (3, 250)  # of 1,200 calls/s at peak
    assert (small.workers, large.workers) == (2, 100)
    assert all(few < many for few, many in zip(small.units, large.units, strict=True))
    assert large.stored == 100 * small.stored
    assert large.google_cost[0] > 50 * small.google_cost[0]


def test_few_events_want_what_is_there_anyway() -> None:
    plan = Plan(1, MEASURED)

    assert (plan.ingresses, plan.workers, plan.units) == (1, 2, (100, 100))
    assert plan.logs_cost == 0
    assert plan.statsig_cost == figures.STATSIG_MONTH


def test_a_dearer_event_wants_more_processes_and_no_more_of_spanner() -> None:
    dear, cheap = Plan(10_000, Measured(1.0, 0.4)), Plan(10_000, MEASURED)

    assert (dear.ingresses, dear.workers) == (2 * cheap.ingresses, 2 * cheap.workers)
    assert dear.units == cheap.units


@pytest.mark.parametrize(("events", "expected"), [(1, 100), (31, 100), (33, 200), (310, 1_000), (330, 2_000)])
def test_units_come_in_hundreds_and_then_in_nodes(events: int, expected: int) -> None:
    assert units(events, figures.NODE_WRITES) == expected


def test_rows_written_one_by_one_want_more_units_than_batched_ones() -> None:
    for plan in (Plan(events, MEASURED) for events in figures.AVERAGES):
        batched, one_by_one = plan.units
        assert batched < one_by_one
        assert plan.months[0] < plan.months[1]


def test_what_gives_out_first_comes_first() -> None:
    found = limits(MEASURED)

    assert found == sorted(found, key=lambda limit: limit.events)
    assert found[0].moved_by == "`spanner_processing_units`"
    assert [limit.part for limit in found if not limit.is_counted] == [SHARDS, "Pub/Sub's quota"]


def test_a_rate_names_what_no_number_of_instances_mends() -> None:
    shards = next(limit for limit in limits(MEASURED) if limit.part == SHARDS)
    rows = {row.split(" | ")[0]: row for row in tables(MEASURED).split("\n\n")[1].splitlines()}

    assert shards.events == pytest.approx(36_400)
    assert rows["| 10,000"].endswith("| - |")
    assert rows["| 100,000"].endswith(f"| {SHARDS}, 8.2 times over |")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.0449, "0.045"), (1.0, "1"), (9.96, "10"), (37.4, "37"), (128.4, "130"), (6_818_181, "6,800,000")],
)
def test_a_rough_figure_has_two_digits(value: float, text: str) -> None:
    assert about(value) == text


def test_the_rows_of_an_event_are_those_that_the_code_writes() -> None:
    row = usual_row()
    by_time = entries(LOG_TABLE, LOG_COLUMNS, _log_values(row, SHARD))
    born = entries(LEDGER_TABLE, _BORN_COLUMNS, _born_pending(row, SHARD))
    touched = [index for index in indexes(LEDGER_TABLE) if (index.key | index.stored) & set(ledger.CLAIM_COLUMNS)]
    left = entries(LEDGER_TABLE, ledger.SETTLED_COLUMNS, settled_row())

    assert (by_time, born, touched, left) == (1, 1, [], 0)
    assert (by_time, born + (born - left)) == (figures.TIME_WRITES, figures.PENDING_WRITES)
    # Log row, and the ledger row born, claimed and settled.
    assert 4 + figures.TIME_WRITES + figures.PENDING_WRITES == figures.ROWS_WRITTEN


def test_only_an_event_that_dies_has_an_entry_of_the_dead() -> None:
    ddl = next(statement for statement in schema.statements() if f"TABLE {LEDGER_TABLE} " in statement)

    assert "dead_shard INT64 AS (IF(state = 'DEAD', forward_shard, NULL)) STORED" in " ".join(ddl.split())
    assert entries(LEDGER_TABLE, ledger.SETTLED_COLUMNS, settled_row(ForwardState.DEAD)) == 1


def test_the_bytes_of_an_event_are_those_that_the_code_makes() -> None:
    row = usual_row()
    log = dict(zip(LOG_COLUMNS, _log_values(row, SHARD), strict=True))
    (by_time,) = indexes(LOG_TABLE)
    entry = {"event_id"} | by_time.key | by_time.stored
    # What the settled row has from its birth, or by default: the shard and two counts, and what stays null.
    ddl = next(statement for statement in schema.statements() if f"TABLE {LEDGER_TABLE} " in statement)
    columns = re.findall(r"^  (\w+) +(?:STRING|TIMESTAMP|INT64|ARRAY)", ddl, re.MULTILINE)
    others = set(columns) - set(ledger.SETTLED_COLUMNS)
    counts = others & {"republished", "replays", "forward_shard"}
    message = forward_message.encode(row.event)
    attributes = sum(len(key) + len(value) for key, value in message.attributes.items())

    assert len(columns) == 21
    assert stored_bytes(log.values()) == pytest.approx(figures.LOG_BYTES, rel=0.02)
    assert stored_bytes(log[column] for column in entry) == pytest.approx(figures.TIME_ENTRY_BYTES, rel=0.02)
    assert stored_bytes(settled_row()) + 8 * (len(others) + len(counts)) == pytest.approx(
        figures.LEDGER_BYTES, rel=0.05
    )
    assert len(message.data) + attributes + 20 + 18 == pytest.approx(figures.MESSAGE_BYTES, rel=0.02)


def test_the_log_line_of_a_call_is_as_long_as_reckoned() -> None:
    with captured_log("INFO") as log:
        get_logger().info(
            "rpc",
            method="LogEvent",
            code="ok",
            latency_ms=12.34,
            caller=CALLER.principal,
            caller_source=CALLER.source.value,
            request_id="a" * 32,
            event_id=usual_row().event.event_id,
            duplicate=False,
        )

    assert len(log.text) == pytest.approx(figures.LINE_BYTES, rel=0.05)


def test_the_deployment_is_as_reckoned_with() -> None:
    module = read_module(TERRAFORM)
    defaults = {name: variable.get("default") for name, variable in module.variables.items()}
    service: Any = module.resources["google_cloud_run_v2_service.ingress"]
    template = service["template"][0]

    assert defaults["spanner_processing_units"] == figures.UNITS
    assert defaults["spanner_edition"] == "STANDARD"
    assert defaults["ingress_min_instances"] == figures.LEAST_INGRESSES
    assert defaults["ingress_max_instances"] == figures.MOST_INGRESSES
    assert defaults["worker_instances"] == figures.WORKERS
    assert defaults["forward_shards"] == DEFAULT_SHARDS
    assert defaults["backup_retention_days"] == figures.BACKUPS
    assert template["max_instance_request_concurrency"] == figures.CALLS_AT_ONCE
    assert template["containers"][0]["resources"][0]["limits"] == {"cpu": "1", "memory": "2Gi"}


def test_figures_are_found_in_what_the_bench_leaves() -> None:
    key, figure = MARKERS["worker_cpu_ms"]
    samples = [
        {"measure": key.measure, "case": key.case, "way": key.way, "round": turn, figure: value}
        for turn, value in enumerate((0.3, 0.1, 0.2))
    ]

    assert markers({"samples": [*samples, {**samples[0], "way": "textbook-worker"}]}) == {"worker_cpu_ms": 0.2}


def test_the_document_has_the_tables_for_the_figures_that_it_gives() -> None:
    text = DOCUMENT.read_text()
    given = re.search(r"--ingress-ms ([\d.]+) --worker-ms ([\d.]+)", text)

    assert given is not None
    for part in tables(Measured(float(given[1]), float(given[2]))).strip().split("\n\n"):
        assert part in text, f"paste what this prints: python -m tests.bench.sizing {given[0]}"


def test_the_document_names_no_figure_that_the_bench_does_not_measure() -> None:
    assert set(re.findall(r"\{\{(\w+)\}\}", DOCUMENT.read_text())) <= set(MARKERS)
