"""EventLogging.log_many: what it holds in memory while rows wait for their commit."""

import anyio

from ingress.callers.rate_limits import CallerRates
from ingress.decoding.turns import Checkpoints, Slices
from ingress.decoding.undecoded import DecodedEvents
from ingress.service import EventLogging, Logged
from shared.errors import MalformedRequestError
from shared.process.current_rules import CurrentRules
from tests.support.fakes.committing import MemoryRepository, committing, until_idle
from tests.support.fakes.manual_clock import ManualClock
from tests.support.fakes.memory_event_log import MemoryStore
from tests.support.fakes.memory_rules import MemoryRuleTable
from tests.support.sample_requests import ALICE, DEFAULTS, sample_request


async def test_what_was_decoded_is_let_go_of_before_its_rows_are_committed() -> None:
    repository = MemoryRepository(gate=anyio.Event())
    refused = MalformedRequestError("is none")
    decoded = DecodedEvents([sample_request(event_name="a"), refused, sample_request(event_name="b")])
    found = []
    async with committing(repository) as calls, anyio.create_task_group() as tasks:
        clock = ManualClock()
        service = EventLogging(
            committer=calls.committer,
            rates=CallerRates(None, clock),
            clock=clock,
            rules=CurrentRules(MemoryRuleTable(MemoryStore(clock)), clock),
            defaults=DEFAULTS,
        )

        async def call() -> None:
            found.extend(await service.log_many(decoded.events, ALICE, Slices(Checkpoints(), "")))

        tasks.start_soon(call)
        await until_idle()
        assert repository.attempts == [["a", "b"]]
        assert decoded.events == []
        assert repository.gate is not None
        repository.gate.set()

    assert [type(each) for each in found] == [Logged, MalformedRequestError, Logged]
    assert found[1] is refused
