"""Transactions of one process on the emulator take turns, and the wait for a turn is not taken for an outage."""

from typing import Any

import anyio
import pytest

from shared.errors import StorageUnavailableError
from shared.process.settings import Settings, from_environment
from shared.spanner.connection import open_database
from shared.spanner.forward_ledger import SpannerForwardLedger
from shared.spanner.republish_ledger import SpannerRepublishLedger
from shared.spanner.transactions import Transactions, current_time

pytestmark = pytest.mark.emulators

BOUND_SECONDS = 0.5


async def test_to_wait_for_ones_turn_is_not_bounded(environment: dict[str, str]) -> None:
    async with open_database(from_environment(Settings, environment)) as database:
        transactions = Transactions(database, one_at_a_time=True)
        began, order = anyio.Event(), list[str]()

        async def slow(transaction: Any) -> None:
            await current_time(transaction)
            began.set()
            await anyio.sleep(2 * BOUND_SECONDS)
            order.append("slow")

        async def quick(transaction: Any) -> None:
            await current_time(transaction)
            order.append("quick")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: transactions.run(slow, within_seconds=60))
            await began.wait()
            await transactions.run(quick, within_seconds=BOUND_SECONDS)

    assert order == ["slow", "quick"]


async def test_the_transaction_itself_is_bounded_and_the_next_one_has_its_turn(environment: dict[str, str]) -> None:
    async with open_database(from_environment(Settings, environment)) as database:
        transactions = Transactions(database, one_at_a_time=True)

        async def hangs(transaction: Any) -> None:
            await current_time(transaction)
            await anyio.sleep_forever()

        with pytest.raises(StorageUnavailableError):
            await transactions.run(hangs, within_seconds=BOUND_SECONDS)

        await transactions.run(current_time, within_seconds=60)


async def test_looks_at_the_indexes_do_not_end_a_transaction_that_is_running(environment: dict[str, str]) -> None:
    """On the emulator a second transaction on the session would, a snapshot of several reads among them."""
    async with open_database(from_environment(Settings, environment)) as database:
        ledger = SpannerForwardLedger(database, timeout_seconds=10, one_at_a_time=True)
        republishing = SpannerRepublishLedger(ledger.transactions, timeout_seconds=10)
        calls = 0

        async def looked_at_meanwhile(transaction: Any) -> None:
            nonlocal calls
            calls += 1
            await current_time(transaction)
            await republishing.unpublished(shard=0, after=None, older_than_seconds=0, limit=10)
            await republishing.due_again(shard=0, limit=10)
            await ledger.oldest_pending_seconds()
            await current_time(transaction)

        await ledger.transactions.run(looked_at_meanwhile, within_seconds=30)

    assert calls == 1
