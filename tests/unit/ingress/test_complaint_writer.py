"""Writing complaints: an outage loses nothing, and a commit that comes late is overwritten."""

import pytest

from ingress.complaints.hourly import HourlyComplaints
from ingress.complaints.writing import ComplaintWriter
from shared.errors import StorageUnavailableError
from shared.events.complaints import Complaint, ComplaintChoice, ComplaintKind
from tests.support.fakes.manual_clock import ManualClock
from tests.support.fakes.memory_complaints import MemoryComplaintTable
from tests.support.fakes.memory_event_log import MemoryStore
from tests.support.fakes.scripted_failures import When

COMPLAINT = Complaint(ComplaintKind.REFUSAL, "", "order_paid", "event_name:required")
DOWN = StorageUnavailableError("down")


class World:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.began = self.clock.now()
        self.table = MemoryComplaintTable(MemoryStore(self.clock))
        self.complaints = HourlyComplaints(self.clock)
        self.writer = ComplaintWriter(self.complaints, self.table)

    async def write(self, process_id: str = "p") -> None:
        await self.writer.write(process_id)

    async def fail(self, when: When = When.BEFORE) -> None:
        self.table.failures.fail_next("write_complaints", DOWN, when=when)
        with pytest.raises(StorageUnavailableError):
            await self.write()

    async def events(self) -> int:
        sums = await self.table.summed(ComplaintChoice(since=self.began), limit=1)
        return sum(total.events for total in sums.totals.values())


async def test_nothing_is_written_where_nothing_changed() -> None:
    world = World()
    await world.write()
    world.complaints.note(COMPLAINT)
    await world.write()
    await world.write()

    assert world.table.failures.count("write_complaints") == 1
    assert await world.events() == 1


@pytest.mark.parametrize("when", When)
async def test_an_outage_over_the_turn_of_hours_loses_nothing_and_counts_nothing_twice(when: When) -> None:
    world = World()
    for events in (1, 20, 300):
        world.complaints.note(COMPLAINT, events)
        await world.fail(when)
        world.clock.advance(3600)
    world.complaints.note(COMPLAINT, 4000)
    await world.fail(when)
    await world.write()

    assert await world.events() == 4321


async def test_what_follows_a_failure_is_written_twice_because_the_failed_commit_may_come_late() -> None:
    world = World()
    world.complaints.note(COMPLAINT, 5)
    await world.fail()
    (late,) = world.complaints.unwritten()
    world.complaints.note(COMPLAINT, 2)
    await world.write()
    await world.table.write("p", late)
    assert await world.events() == 5

    await world.write()
    assert await world.events() == 7
    written = world.table.failures.count("write_complaints")
    await world.write()
    assert world.table.failures.count("write_complaints") == written


async def test_two_processes_add_up() -> None:
    world = World()
    other = HourlyComplaints(world.clock)
    world.complaints.note(COMPLAINT, 2)
    other.note(COMPLAINT, 3)
    await world.write("one")
    await ComplaintWriter(other, world.table).write("two")

    assert await world.events() == 5
