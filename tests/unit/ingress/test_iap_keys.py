"""When IAP's public keys are fetched, and how long they are kept."""

import anyio
import pytest
import requests

from ingress.callers.iap import REFRESH_SECONDS, RETRY_SECONDS
from shared.errors import UncheckedCallerError
from shared.events.event import Caller
from tests.support.fakes.manual_clock import ManualClock
from tests.support.wire.iap_keys import ALICE, KEY, OTHER, Key, Keys, verifier


async def test_keys_are_fetched_once_for_many_assertions() -> None:
    keys = Keys(KEY)
    verifying = verifier(keys)
    for _ in range(5):
        assert await verifying.verify(KEY.sign()) == ALICE

    assert keys.fetches == 1


async def test_concurrent_first_calls_share_one_fetch() -> None:
    keys = Keys(KEY)
    verifying = verifier(keys)
    callers: list[Caller | None] = []

    async def verify() -> None:
        callers.append(await verifying.verify(KEY.sign()))

    async with anyio.create_task_group() as calls:
        for _ in range(10):
            calls.start_soon(verify)

    assert callers == [ALICE] * 10
    assert keys.fetches == 1


async def test_made_up_key_ids_do_not_make_us_fetch() -> None:
    keys, clock = Keys(KEY), ManualClock()
    verifying = verifier(keys, clock)
    assert await verifying.verify(Key("made-up").sign()) is None
    for number in range(20):
        clock.advance(1)
        with pytest.raises(UncheckedCallerError):  # it may be one that was made since
            await verifying.verify(Key(f"made-up-{number}").sign())

    assert keys.fetches == 1


async def test_a_new_key_is_known_after_the_pause_between_fetches() -> None:
    keys, clock = Keys(KEY), ManualClock()
    verifying = verifier(keys, clock)
    assert await verifying.verify(KEY.sign()) == ALICE
    keys.keys = (KEY, OTHER)

    clock.advance(REFRESH_SECONDS - 1)
    with pytest.raises(UncheckedCallerError):
        await verifying.verify(OTHER.sign())
    clock.advance(1)
    assert await verifying.verify(OTHER.sign()) == ALICE
    assert keys.fetches == 2


@pytest.mark.parametrize(
    "error", [requests.ConnectionError("secret"), requests.Timeout("secret"), ValueError("secret")]
)
async def test_without_keys_nothing_can_be_said_of_an_assertion_until_the_next_try(error: Exception) -> None:
    keys, clock = Keys(failing=error), ManualClock()
    verifying = verifier(keys, clock)
    for _ in range(3):
        with pytest.raises(UncheckedCallerError):
            await verifying.verify(KEY.sign())
    assert keys.fetches == 1

    keys.keys, keys.failing = (KEY,), None
    clock.advance(RETRY_SECONDS)
    assert await verifying.verify(KEY.sign()) == ALICE


async def test_known_keys_outlive_a_failing_fetch() -> None:
    keys, clock = Keys(KEY), ManualClock()
    verifying = verifier(keys, clock)
    assert await verifying.verify(KEY.sign()) == ALICE

    keys.failing = requests.ConnectionError()
    clock.advance(REFRESH_SECONDS)
    with pytest.raises(UncheckedCallerError):
        await verifying.verify(OTHER.sign())
    assert await verifying.verify(KEY.sign()) == ALICE
