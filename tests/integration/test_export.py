"""The event log as the export to BigQuery reads it: in partitions, every row and column without loss."""

import json
import re
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from google.cloud.spanner_v1 import KeySet

from deploy import schema as ddl
from deploy.local.emulators import Emulators
from deploy.local.provision import StackNames, provisioner
from shared.events.event import Caller, CallerSource, EventLogRow
from shared.events.timestamps import EARLIEST_NANOS, LATEST_NANOS, from_datetime, to_rfc3339
from shared.process.settings import Settings, from_environment
from shared.spanner.connection import open_database
from shared.spanner.event_log import LOG_COLUMNS, LOG_TABLE, SpannerEventLogRepository
from tests.support.emulators.bigquery import FOLDER, TABLE, Warehouse, newline_json, schema, translated
from tests.support.sample_events import ASTRAL
from tests.support.sample_requests import ALICE, normalize, sample_request

pytestmark = pytest.mark.emulators

HARD: list[dict[str, Any]] = [
    {"event_name": "plain", "metadata": {"value": 12.5, "currency": "EUR"}, "event_type": "t", "actor_id": "a"},
    {"event_name": "nothing_optional", "metadata": None},
    {
        "event_name": f"x{ASTRAL}ß中文",
        "metadata": {f"k{ASTRAL}": '\u2028 "quoted" \\ \t é \u0301'},
        "actor_id": "ü" * 256,
    },
    {"event_name": "large", "metadata": {"text": "ß" * 32_000}},
    {"event_name": "deep", "metadata": {"a": [{"b": [None, True, 0, -1.5e300, 2**53, "", {}]}]}},
    {"event_name": "text_for_a_number", "metadata": {"value": "twelve", "currency": None}},
    {"event_name": "not_forwarded", "metadata": {}, "forward_to_statsig": False},
]
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
MOMENTS = (1_790_000_000_123_456_789, EARLIEST_NANOS, LATEST_NANOS, 0, -1)


def event_rows() -> list[EventLogRow]:
    requests = [sample_request(fields.pop("metadata"), **fields) for fields in [dict(each) for each in HARD]]
    rows = [normalize(request) for request in requests]
    rows += [
        normalize(sample_request({"n": index}, event_name="moment"), now=moment) for index, moment in enumerate(MOMENTS)
    ]
    rows += [normalize(sample_request({"n": 1}, event_name="anonymous"), caller=Caller("", CallerSource.NONE))]
    rows += [normalize(sample_request({"n": 1}, event_name="traced"), traceparent=f"00-{TRACE_ID}-00f067aa0ba902b7-01")]
    rows += [normalize(sample_request({"n": index}, event_name="bulk")) for index in range(300)]
    return rows


@pytest.fixture
async def database(environment: dict[str, str]) -> AsyncIterator[Any]:
    async with open_database(from_environment(Settings, environment)) as opened:
        yield opened


async def append(database: Any, rows: list[EventLogRow]) -> None:
    repository = SpannerEventLogRepository(database, timeout_seconds=10)
    for start in range(0, len(rows), 100):
        await repository.append(rows[start : start + 100])


async def read_in_partitions(database: Any) -> tuple[list[dict[str, Any]], int]:
    """Every row of the table at one timestamp, and of how many partitions they came."""
    snapshot = database.batch_snapshot()
    found: list[dict[str, Any]] = []
    partitions = 0
    async for batch in snapshot.generate_read_batches(LOG_TABLE, LOG_COLUMNS, KeySet(all_=True)):
        partitions += 1
        rows = await snapshot.process_read_batch(batch)
        found += [dict(zip(LOG_COLUMNS, row, strict=True)) async for row in rows]
    await snapshot.close()
    return found, partitions


def exported(row: dict[str, Any]) -> dict[str, Any]:
    """As the export writes it: timestamps in RFC 3339, metadata as JSON."""
    return row | {
        "event_ts": to_rfc3339(from_datetime(row["event_ts"])),
        "ingested_at": to_rfc3339(from_datetime(row["ingested_at"])),
        "metadata": json.loads(row["metadata"].serialize()),
    }


async def test_a_partitioned_read_gives_every_row_and_column_without_loss(database: Any) -> None:
    written = event_rows()
    await append(database, written)

    read, partitions = await read_in_partitions(database)

    assert partitions >= 1
    assert len(read) == len(written)
    by_id = {row["event_id"]: row for row in read}
    for row in written:
        event = row.event
        found = by_id[event.event_id]
        assert found["event_name"] == event.event_name
        assert found["event_type"] == event.event_type
        assert found["actor_id"] == event.actor_id
        assert from_datetime(found["event_ts"]) == event.event_ts_nanos
        assert found["ingested_at"].tzinfo is not None
        assert found["forward_to_statsig"] is row.forward_to_statsig
        assert json.loads(found["metadata"].serialize()) == json.loads(row.metadata_json)


async def test_the_export_reads_exactly_the_table_that_is_there(database: Any) -> None:
    async with database.snapshot() as snapshot:
        columns = {
            name: (type_, nullable)
            async for name, type_, nullable in await snapshot.execute_sql(
                "SELECT column_name, spanner_type, is_nullable FROM information_schema.columns "
                "WHERE table_schema = '' AND table_name = 'NestEventLog'"
            )
        }
    of_spanner = {"BOOL": "BOOLEAN"}
    expected = {
        name: (
            of_spanner.get(kind := re.sub(r"\(.*", "", type_), kind),
            "NULLABLE" if nullable == "YES" else "REQUIRED",
        )
        for name, (type_, nullable) in columns.items()
    }
    assert {field["name"]: (field["type"], field["mode"]) for field in schema()} == expected
    assert [field["name"] for field in schema()] == list(LOG_COLUMNS)


async def test_spanner_takes_the_change_stream(emulators: Emulators) -> None:
    names = StackNames.unique("cs")
    async with provisioner(emulators) as admin:
        await admin.create_database(names, [*ddl.statements(), *ddl.split((FOLDER / "change_stream.sql").read_text())])
        settings = from_environment(Settings, names.variables | emulators.variables)
        async with open_database(settings) as database, database.snapshot() as snapshot:
            watched = [
                row
                async for row in await snapshot.execute_sql(
                    "SELECT t.change_stream_name, t.table_name, t.all_columns "
                    "FROM information_schema.change_stream_tables AS t"
                )
            ]
        await admin.delete_instance(names)
    assert watched == [["NestEventLogExport", LOG_TABLE, True]]


async def test_the_federated_query_is_one_that_spanner_answers(database: Any) -> None:
    await append(database, [normalize(sample_request({"value": 1}, event_name="federated"))])
    federated = (FOLDER / "federated_query.sql").read_text()
    assert translated(federated)
    (inner,) = re.findall(r"'''(.*?)'''", federated, re.DOTALL)
    async with database.snapshot() as snapshot:
        ((_, name, *_, metadata, forward, _, _, _, _, _),) = [row async for row in await snapshot.execute_sql(inner)]
    assert (name, forward) == ("federated", True)
    assert json.loads(metadata)["value"] == 1


@pytest.fixture
def warehouse() -> Iterator[Warehouse]:
    opened = Warehouse()
    yield opened
    opened.close()


async def test_rows_load_into_the_schema_as_newline_json(database: Any, warehouse: Warehouse, tmp_path: Path) -> None:
    await append(database, event_rows())
    read, _ = await read_in_partitions(database)
    newline_json([exported(row) for row in read], tmp_path / "rows.json")

    warehouse.load(tmp_path / "rows.json")

    loaded = {row["event_id"]: row for row in warehouse.rows(f"SELECT * FROM {TABLE}")}  # noqa: S608 - a constant
    assert loaded.keys() == {row["event_id"] for row in read}
    for row in read:
        found = loaded[row["event_id"]]
        assert json.loads(found["metadata"]) == json.loads(row["metadata"].serialize())
        same = ("event_name", "event_type", "actor_id", "forward_to_statsig")
        assert [found[name] for name in same] == [row[name] for name in same]
        # BigQuery's TIMESTAMP ends at microseconds: the nanoseconds stay behind in Spanner.
        assert from_datetime(found["event_ts"]) // 1000 == from_datetime(row["event_ts"]) // 1000


async def test_sigma_users_see_metadata_and_caller_as_columns(
    database: Any, warehouse: Warehouse, tmp_path: Path
) -> None:
    await append(database, event_rows())
    read, _ = await read_in_partitions(database)
    path = tmp_path / "rows.json"
    newline_json([exported(row) for row in read], path)
    warehouse.load(path)
    warehouse.load(path)  # a change stream may deliver twice

    warehouse.execute(sigma_view())
    rows = warehouse.rows("SELECT * FROM nest_events")

    assert len(rows) == len(read)
    (plain,) = [row for row in rows if row["event_name"] == "plain"]
    assert (plain["caller"], plain["caller_source"]) == (ALICE.principal, "cloud_run_iam")
    assert (plain["value"], plain["value_number"], plain["currency"]) == ("12.5", 12.5, "EUR")
    assert plain["schema_version"] == 1
    assert plain["ingested_on"] == datetime.now(UTC).date()
    assert isinstance(plain["ingested_on"], date)
    (text,) = [row for row in rows if row["event_name"] == "text_for_a_number"]
    assert (text["value"], text["value_number"], text["currency"]) == ("twelve", None, None)
    (anonymous,) = [row for row in rows if row["event_name"] == "anonymous"]
    assert (anonymous["caller"], anonymous["caller_source"]) == (None, "none")
    assert {row["event_name"]: row["trace_id"] for row in rows if row["trace_id"] is not None} == {"traced": TRACE_ID}
    assert all(uuid.UUID(row["event_id"]) for row in rows)


def sigma_view() -> str:
    return (FOLDER / "sigma_view.sql").read_text().replace("DATASET.", "")
