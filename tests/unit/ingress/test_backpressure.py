"""When no further call of a caller begins, and when one does again."""

from ingress.callers.backpressure import LEAST_ROWS, Backpressure
from ingress.commit.waiting_rows import WaitingCall, WaitingRow, WaitingRows
from tests.support.fakes.committing import row


class RecordingGate:
    def __init__(self) -> None:
        self.held: set[str] = set()
        self.changes = 0

    def hold(self, caller: str) -> None:
        assert caller not in self.held
        self.held.add(caller)
        self.changes += 1

    def release(self, caller: str) -> None:
        self.held.remove(caller)
        self.changes += 1


class World:
    def __init__(self, *, rows_in_flight: int = 64) -> None:
        self.rows = WaitingRows(max_rows=10_000, max_bytes=10**9)
        self.gate = RecordingGate()
        self.backlog = Backpressure(self.rows, self.gate, rows_in_flight=rows_in_flight)
        self._row = row()

    def add(self, caller: str, count: int) -> None:
        for _ in range(count):
            self.rows.offer(WaitingRow(self._row, WaitingCall()), caller)
        self.backlog.grew(caller)

    def take(self, count: int) -> None:
        for _ in range(count):
            self.rows.take_group(1)
        self.backlog.shrank()


async def test_a_caller_with_many_rows_is_held_until_half_of_them_are_taken() -> None:
    world = World()
    world.add("flood", 2 * LEAST_ROWS - 1)
    assert not world.gate.held
    world.add("flood", 1)
    assert world.gate.held == {"flood"}

    world.take(LEAST_ROWS - 1)
    assert world.gate.held == {"flood"}
    world.take(1)
    assert not world.gate.held


async def test_a_caller_that_is_held_is_held_once() -> None:
    world = World()
    for _ in range(3):
        world.add("flood", 2 * LEAST_ROWS)

    assert world.gate.changes == 1


async def test_each_caller_is_held_for_its_own_rows() -> None:
    world = World()
    world.add("flood", 2 * LEAST_ROWS)
    world.add("polite", 10)

    assert world.gate.held == {"flood"}


async def test_where_commits_take_more_at_once_more_may_wait() -> None:
    world = World(rows_in_flight=2000)
    world.add("flood", 3999)
    assert not world.gate.held
    world.add("flood", 1)
    assert world.gate.held
