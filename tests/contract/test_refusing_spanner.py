"""A Spanner that no connection reaches: what our reads cost meanwhile, and that they work again afterwards."""

import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final

import pytest
from google.cloud.spanner_v1 import SpannerAsyncClient

from deploy.local.emulators import Emulators
from shared.errors import StorageUnavailableError
from shared.events.dead_letter_table import Closing
from shared.events.forward_ledger import ClaimOutcome, DeliveryRecord
from shared.process.settings import Settings, from_environment
from shared.spanner.connection import open_database
from shared.spanner.dead_letters import SpannerDeadLetterTable
from shared.spanner.forward_ledger import SpannerForwardLedger
from shared.spanner.replay_ledger import SpannerReplayLedger
from tests.support.wire.tcp_proxy import Mode, TcpProxy, tcp_proxy

pytestmark = pytest.mark.emulators

BOUND_SECONDS: Final = 0.5

FEW: Final = 3
"""Of the client's own attempts: left to itself it made a thousand within the bound (google-cloud-spanner 3.71)."""

ATTEMPT: Final = DeliveryRecord(str(uuid.uuid4()), 1, 0, None, "http_503", 503, ())


@dataclass
class Refusing:
    proxy: TcpProxy
    ledger: SpannerForwardLedger
    attempts: Counter[str]
    """Of the client, by the method of the API."""


@pytest.fixture
async def spanner(
    emulators: Emulators, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Refusing]:
    """One that has answered, so that the client has its session, and then is gone."""
    attempts: Counter[str] = Counter()

    def count(method: str) -> None:
        real = getattr(SpannerAsyncClient, method)

        def counted(*args: Any, **kwargs: Any) -> Any:
            attempts[method] += 1
            return real(*args, **kwargs)

        monkeypatch.setattr(SpannerAsyncClient, method, counted)

    for method in ("streaming_read", "execute_streaming_sql"):
        count(method)
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(tcp_proxy(emulators.spanner_host))
        settings = from_environment(Settings, environment | {"SPANNER_EMULATOR_HOST": proxy.address})
        database = await stack.enter_async_context(open_database(settings))
        ledger = SpannerForwardLedger(database, timeout_seconds=BOUND_SECONDS, one_at_a_time=True)
        patient = SpannerForwardLedger(database, timeout_seconds=10, one_at_a_time=True)
        await patient.claim([ATTEMPT.event_id], token="t", seconds=1)
        await proxy.switch(Mode.REFUSE)
        attempts.clear()
        yield Refusing(proxy, ledger, attempts)


Call = Callable[[SpannerForwardLedger], Awaitable[object]]

CALLS: Final[dict[str, Call]] = {
    "claim": lambda ledger: ledger.claim([ATTEMPT.event_id], token="t", seconds=1),
    "note": lambda ledger: ledger.note([ATTEMPT], token="t"),
    "give_up": lambda ledger: ledger.give_up([ATTEMPT], token="t"),
    "settle_delivered late": lambda ledger: ledger.settle_delivered([ATTEMPT], token="t"),
    "settle_dead": lambda ledger: ledger.settle_dead([ATTEMPT], token="t"),
    "release": lambda ledger: ledger.release([ATTEMPT], token="t"),
    "reopen": lambda ledger: SpannerReplayLedger(ledger.transactions, timeout_seconds=BOUND_SECONDS).reopen(
        [ATTEMPT.event_id], max_replays=1
    ),
    "close": lambda ledger: SpannerDeadLetterTable(ledger.transactions, timeout_seconds=BOUND_SECONDS).close(
        [ATTEMPT.event_id], Closing.DISCARDED
    ),
    "oldest_pending_seconds": lambda ledger: ledger.oldest_pending_seconds(),
}


@pytest.mark.parametrize("name", CALLS)
async def test_a_call_asks_at_intervals_and_not_without_a_pause(spanner: Refusing, name: str) -> None:
    with pytest.raises(StorageUnavailableError):
        await CALLS[name](spanner.ledger)

    assert 1 <= sum(spanner.attempts.values()) <= FEW


async def test_a_connection_that_comes_back_within_the_bound_is_used(spanner: Refusing) -> None:
    patient = SpannerForwardLedger(spanner.ledger.transactions.database, timeout_seconds=10, one_at_a_time=True)
    with pytest.raises(StorageUnavailableError):
        await spanner.ledger.claim([ATTEMPT.event_id], token="t", seconds=1)

    await spanner.proxy.switch(Mode.PASS)

    (entry,) = (await patient.claim([ATTEMPT.event_id], token="t", seconds=1)).values()
    assert entry.outcome is ClaimOutcome.MISSING
