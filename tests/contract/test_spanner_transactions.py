"""Transactions of one process on the emulator take turns, and the wait for a turn is not taken for an outage."""

from typing import Any

import anyio
import pytest

from shared.errors import StorageUnavailableError
from shared.events.forward_ledger import ClaimOutcome
from shared.process.settings import Settings, from_environment
from shared.spanner.connection import open_database
from shared.spanner.event_log import SpannerEventLogRepository
from shared.spanner.forward_ledger import SpannerForwardLedger
from shared.spanner.republish_ledger import SpannerRepublishLedger
from shared.spanner.transactions import Transactions, current_time
from tests.support.emulators.claiming import attempt
from tests.support.sample_events import sample_row

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


async def test_what_a_worker_does_with_an_event_waits_for_no_read_outside_a_transaction(
    environment: dict[str, str],
) -> None:
    """On the emulator such a read waits until the machine's clock has caught up with the emulator's: see `claim`."""
    async with open_database(from_environment(Settings, environment)) as database:
        row, delivered = sample_row(), sample_row()
        await SpannerEventLogRepository(database, timeout_seconds=10).append([row, delivered])
        ledger = SpannerForwardLedger(_WithoutSnapshots(database), timeout_seconds=10, one_at_a_time=True)
        attempts = [attempt(row.event.event_id)]

        for token in ("first", "second"):
            claimed = await ledger.claim([row.event.event_id], token=token, seconds=60)
            assert claimed[row.event.event_id].outcome is ClaimOutcome.CLAIMED
            assert await ledger.note(attempts, token=token)
            await ledger.release(attempts, token=token)
        await ledger.claim([row.event.event_id], token="third", seconds=60)
        assert await ledger.give_up(attempts, token="third")
        assert await ledger.settle_dead(attempts, token="third")
        for seconds_left in (60, 0):  # a commit without a read, and one with it
            await ledger.settle_delivered([attempt(delivered.event.event_id)], token="x", seconds_left=seconds_left)


class _WithoutSnapshots:
    """A database that reads in transactions only."""

    def __init__(self, database: Any) -> None:
        self._database = database

    def __getattr__(self, name: str) -> Any:
        assert name != "snapshot", "a read outside a transaction"
        return getattr(self._database, name)
