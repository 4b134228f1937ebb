"""Reads by key: our raw protobuf keys are those that the client makes (google-cloud-spanner 3.71)."""

import uuid
from typing import Any

import pytest
from google.cloud.spanner_v1 import KeySet

from shared.events.forward_ledger import LEDGER_TABLE
from shared.process.settings import Settings, from_environment
from shared.spanner.connection import open_database
from shared.spanner.forward_ledger import SpannerForwardLedger
from shared.spanner.reading import by_key, read_by_key
from tests.support.emulators.claiming import logged
from tests.support.emulators.storages import SpannerStorage

COLUMNS = ("event_id", "state", "attempts", "claim_token")


def test_the_message_is_the_one_that_the_client_makes() -> None:
    event_ids = [str(uuid.uuid4()) for _ in range(3)]

    assert by_key(event_ids)._to_pb() == KeySet(keys=[(event_id,) for event_id in event_ids])._to_pb()
    assert by_key([])._to_pb() == KeySet()._to_pb()


@pytest.mark.emulators
async def test_the_rows_that_exist_are_found_in_the_order_of_their_keys(
    emulator_storage: SpannerStorage, environment: dict[str, str]
) -> None:
    event_ids = await logged(emulator_storage, 3)
    expected = [[event_id, "PENDING", 0, None] for event_id in sorted(event_ids)]
    asked = [str(uuid.uuid4()), *sorted(event_ids, reverse=True), event_ids[0]]

    async def work(transaction: Any) -> Any:
        return await read_by_key(transaction, LEDGER_TABLE, COLUMNS, asked)

    async with open_database(from_environment(Settings, environment)) as database:
        async with database.snapshot() as snapshot:
            assert await read_by_key(snapshot, LEDGER_TABLE, COLUMNS, asked) == expected
        ledger = SpannerForwardLedger(database, timeout_seconds=10, one_at_a_time=True)
        assert await ledger.transactions.run(work, within_seconds=10) == expected
        async with database.snapshot() as snapshot:
            assert await read_by_key(snapshot, LEDGER_TABLE, COLUMNS, []) == []
