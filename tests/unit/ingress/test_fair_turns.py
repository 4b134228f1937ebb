"""Fair turns: whose slice of work the event loop runs next."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import anyio
import pytest

from ingress.decoding.fair_turns import LONE_ROUND_SECONDS, ROUND_SECONDS, SLICES_OF_A_ROUND, FairTurns
from shared.errors import CallerOverloadedError, OverloadedError

LONG = 5 * ROUND_SECONDS
SHORT = ROUND_SECONDS / 10


@dataclass
class Work:
    """Calls that work in slices, in a time that passes only while they do."""

    patience_seconds: float = 30.0
    is_alone: bool = False
    """Whether no other caller has called of late."""

    seconds: float = 0.0
    done: list[str] = field(default_factory=list)
    """Whose slices, in their order; a `|` where the loop looked at everything else."""

    def __post_init__(self) -> None:
        self.turns = FairTurns(patience_seconds=self.patience_seconds, now=lambda: self.seconds)
        if not self.is_alone:
            self.turns._recent.came("one", self.seconds)
            self.turns._recent.came("another", self.seconds)

    async def call(self, name: str, caller: str, slices: int = 1, lasting: float = LONG) -> None:
        for _ in range(slices):
            await self.turns.turn(caller)
            self.seconds += lasting
            self.done.append(name)

    async def look(self) -> None:
        """A bystander: what has nothing to do with turns."""
        while True:
            self.done.append("|")
            await asyncio.sleep(0)

    async def beside_a_bystander(self, *calls: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async with anyio.create_task_group() as bystander:
            bystander.start_soon(self.look)
            async with anyio.create_task_group() as group:
                for call in calls:
                    group.start_soon(call)
            bystander.cancel_scope.cancel()

    @property
    def slices(self) -> list[str]:
        return [name for name in self.done if name != "|"]

    @property
    def longest_pass(self) -> int:
        """The most slices between two looks at everything else."""
        return max(len(list(names)) for is_look, names in groupby(self.done, lambda name: name == "|") if not is_look)


async def test_a_lone_slice_waits_for_nothing() -> None:
    work = Work()
    turn = work.turns.turn("any")

    with pytest.raises(StopIteration):
        turn.send(None)


async def test_between_two_long_slices_of_a_call_everything_else_is_looked_at() -> None:
    work = Work()
    await work.beside_a_bystander(lambda: work.call("a", "flood", 10))

    assert work.slices == ["a"] * 10
    assert work.longest_pass == 1


async def test_however_many_calls_a_caller_makes_everything_else_waits_for_one_long_slice_and_a_begun_one() -> None:
    work = Work()
    await work.beside_a_bystander(*[lambda: work.call("a", "flood", 3) for _ in range(50)])

    assert len(work.slices) == 150
    assert work.longest_pass <= 2


async def test_everything_else_waits_somewhat_longer_for_a_caller_that_is_alone() -> None:
    work = Work(is_alone=True)
    await work.beside_a_bystander(*[lambda: work.call("a", "flood", 3) for _ in range(50)])

    assert len(work.slices) == 150
    assert work.longest_pass <= LONE_ROUND_SECONDS / LONG + 1


async def test_small_slices_share_a_pass() -> None:
    work = Work()
    await work.beside_a_bystander(*[lambda: work.call("a", "flood", 1, SHORT) for _ in range(100)])

    assert len(work.slices) == 100
    assert work.longest_pass <= 10 + SLICES_OF_A_ROUND
    assert work.done.count("|") <= 30


async def test_a_call_of_a_caller_that_has_none_waiting_goes_before_all_that_wait() -> None:
    work = Work()
    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(work.call, f"flood {number}", "flood")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        group.start_soon(work.call, "polite", "polite")

    assert work.slices.index("polite") <= 3


async def test_callers_take_turns() -> None:
    work = Work()
    async with anyio.create_task_group() as group:
        for caller in ("a", "b", "c"):
            for _ in range(4):
                group.start_soon(work.call, caller, caller, 5)

    slices = work.slices
    for end in range(3, 45):
        counts = [slices[:end].count(caller) for caller in ("a", "b", "c")]
        assert max(counts) - min(counts) <= 2, slices


async def test_of_one_callers_calls_the_oldest_is_finished_first() -> None:
    work = Work()
    async with anyio.create_task_group() as group:
        for name in ("first", "second", "third"):
            group.start_soon(work.call, name, "flood", 5)

    ends = [len(work.slices) - work.slices[::-1].index(name) for name in ("first", "second", "third")]
    assert ends == sorted(ends)
    assert work.slices[-5:] == ["third"] * 5


async def test_of_more_calls_than_are_let_go_at_once_each_is_finished_before_the_next_begins() -> None:
    work = Work()
    names = [f"{number:02}" for number in range(2 * SLICES_OF_A_ROUND)]
    async with anyio.create_task_group() as group:
        for name in names:
            group.start_soon(work.call, name, "flood", 5)

    assert work.slices == [name for name in names for _ in range(5)]


async def test_a_call_whose_first_turn_does_not_come_in_time_is_refused_for_its_callers_own_load() -> None:
    work = Work(patience_seconds=0.0)
    outcomes: dict[str, Exception | None] = {}

    async def call(name: str, caller: str) -> None:
        try:
            await work.call(name, caller, 3)
        except OverloadedError as error:
            outcomes[name] = error
        else:
            outcomes[name] = None

    async with anyio.create_task_group() as group:
        for number in range(30):
            group.start_soon(call, f"flood {number}", "flood")
        group.start_soon(call, "other", "other")

    refused = [name for name, error in outcomes.items() if type(error) is CallerOverloadedError]
    assert outcomes["flood 0"] is None
    assert refused
    assert all(name.startswith("flood") for name in refused)
    assert type(outcomes["other"]) is not CallerOverloadedError
    assert all(work.slices.count(name) == 3 for name, error in outcomes.items() if error is None)
    assert not set(refused) & set(work.slices)


async def test_calls_that_are_gone_hold_up_nobody() -> None:
    work = Work()
    async with anyio.create_task_group() as group:
        group.start_soon(work.call, "working", "flood", 40)
        await asyncio.sleep(0)
        with anyio.CancelScope() as gone:
            async with anyio.create_task_group() as calls:
                for _ in range(10):
                    calls.start_soon(work.call, "gone", "flood")
                    calls.start_soon(work.call, "gone", "other")
                await asyncio.sleep(0)
                gone.cancel()
        group.start_soon(work.call, "last", "other")

    assert work.slices.count("working") == 40
    assert work.slices.count("last") == 1


async def passes(number: int = 100) -> None:
    """Of the event loop."""
    for _ in range(number):
        await asyncio.sleep(0)


async def test_of_a_caller_that_is_held_no_call_is_begun_and_those_that_are_go_on() -> None:
    work = Work()
    async with anyio.create_task_group() as group:
        group.start_soon(work.call, "begun", "flood", 10)
        group.start_soon(work.call, "other", "other", 2)
        await asyncio.sleep(0)
        work.turns.hold("flood")
        group.start_soon(work.call, "held", "flood", 2)
        await passes()
        assert sorted(work.slices) == ["begun"] * 10 + ["other"] * 2

        group.start_soon(work.call, "other", "other", 2)
        await passes()
        assert work.slices.count("other") == 4
        assert "held" not in work.slices
        work.turns.release("flood")

    assert work.slices[-2:] == ["held"] * 2


async def test_a_call_that_is_held_for_too_long_is_refused() -> None:
    work = Work(patience_seconds=0.01)
    work.turns.hold("flood")
    with pytest.raises(OverloadedError), anyio.fail_after(5):
        await work.turns.turn("flood")

    work.turns.release("flood")
    await asyncio.create_task(work.call("next", "flood"))
    assert work.slices == ["next"]
