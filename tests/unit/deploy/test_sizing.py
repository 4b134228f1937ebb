"""The capacity table: it follows from what was measured, its constants are the code's, and the document has it."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import NoneType
from typing import Any, Final

import pytest
from google.cloud.spanner_v1 import COMMIT_TIMESTAMP

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
from tests.bench import sizing
from tests.bench.bodies import usual_event
from tests.bench.sizing import MARKERS, Measured, Plan, about, limits, markers, tables, units
from tests.support.parsers.hcl import read_module
from tests.support.wire.ingress import captured_log

DOCUMENT: Final = REPOSITORY / "deploy" / "SIZING.md"
TERRAFORM: Final = REPOSITORY / "deploy" / "terraform"

SHARDS: Final = f"{DEFAULT_SHARDS} shards"

MEASURED: Final = Measured(ingress_ms=0.5, worker_ms=0.2)

CALLER: Final = Caller("shop@my-project.iam.gserviceaccount.com", CallerSource.CLOUD_RUN_IAM)
TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z")
NOW: Final = datetime(2026, 11, 28, 20, 42, 3, 123456, UTC)
SHARD: Final = 7


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


def stored_bytes(values: Iterable[object]) -> int:
    """As cloud.google.com/spanner/docs/reference/standard-sql/data-types counts them."""
    return sum(8 + _value_bytes(value) for value in values)


def _value_bytes(value: object) -> int:
    if isinstance(value, list):
        return stored_bytes(value)
    if isinstance(value, datetime) or value == COMMIT_TIMESTAMP or TIME.fullmatch(str(value)):
        return 12
    if isinstance(value, str):
        return len(value.encode())
    return {NoneType: 0, bool: 1, int: 8}[type(value)]


@dataclass(frozen=True)
class Index:
    key: frozenset[str]
    stored: frozenset[str]


def indexes(table: str) -> list[Index]:
    """A row has an entry of each whose key it has: the ledger's are null-filtered, of the log's no key is ever null."""
    pattern = re.compile(rf"CREATE (?:NULL_FILTERED )?INDEX \w+ ON {table} \(([\w, ]+)\)(?:\s+STORING \(([\w, ]+)\))?")
    return [
        Index(*(frozenset(re.findall(r"\w+", columns or "")) for columns in found.groups()))
        for statement in schema.statements()
        if (found := pattern.fullmatch(statement))
    ]


def entries(table: str, columns: Sequence[str], values: Sequence[object]) -> int:
    """Index entries of a row in which all other columns are null."""
    given = dict(zip(columns, values, strict=True))
    if given.get("state") == ForwardState.DEAD:
        given["dead_shard"] = SHARD  # the only one that Spanner makes, as its statement says
    return sum(all(given.get(column) is not None for column in index.key) for index in indexes(table))


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
    assert plan.statsig_cost == sizing.STATSIG_MONTH


def test_a_dearer_event_wants_more_processes_and_no_more_of_spanner() -> None:
    dear, cheap = Plan(10_000, Measured(1.0, 0.4)), Plan(10_000, MEASURED)

    assert (dear.ingresses, dear.workers) == (2 * cheap.ingresses, 2 * cheap.workers)
    assert dear.units == cheap.units


@pytest.mark.parametrize(("events", "expected"), [(1, 100), (31, 100), (33, 200), (310, 1_000), (330, 2_000)])
def test_units_come_in_hundreds_and_then_in_nodes(events: int, expected: int) -> None:
    assert units(events, sizing.NODE_WRITES) == expected


def test_rows_written_one_by_one_want_more_units_than_batched_ones() -> None:
    for plan in (Plan(events, MEASURED) for events in sizing.AVERAGES):
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
    assert (by_time, born + (born - left)) == (sizing.TIME_WRITES, sizing.PENDING_WRITES)
    # Log row, and the ledger row born, claimed and settled.
    assert 4 + sizing.TIME_WRITES + sizing.PENDING_WRITES == sizing.ROWS_WRITTEN


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

    assert len(columns) == 20
    assert stored_bytes(log.values()) == pytest.approx(sizing.LOG_BYTES, rel=0.02)
    assert stored_bytes(log[column] for column in entry) == pytest.approx(sizing.TIME_ENTRY_BYTES, rel=0.02)
    assert stored_bytes(settled_row()) + 8 * (len(others) + len(counts)) == pytest.approx(sizing.LEDGER_BYTES, rel=0.05)
    assert len(message.data) + attributes + 20 + 18 == pytest.approx(sizing.MESSAGE_BYTES, rel=0.02)


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

    assert len(log.text) == pytest.approx(sizing.LINE_BYTES, rel=0.05)


def test_the_deployment_is_as_reckoned_with() -> None:
    module = read_module(TERRAFORM)
    defaults = {name: variable.get("default") for name, variable in module.variables.items()}
    service: Any = module.resources["google_cloud_run_v2_service.ingress"]
    template = service["template"][0]

    assert defaults["spanner_processing_units"] == sizing.UNITS
    assert defaults["spanner_edition"] == "STANDARD"
    assert defaults["ingress_min_instances"] == sizing.LEAST_INGRESSES
    assert defaults["ingress_max_instances"] == sizing.MOST_INGRESSES
    assert defaults["worker_instances"] == sizing.WORKERS
    assert defaults["forward_shards"] == DEFAULT_SHARDS
    assert defaults["backup_retention_days"] == sizing.BACKUPS
    assert template["max_instance_request_concurrency"] == sizing.CALLS_AT_ONCE
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
