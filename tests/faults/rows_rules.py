"""Fault rows of operators' rules (F62 to F64): what they hold, also where a worker dies between the steps."""

import time
from collections.abc import Collection
from typing import Final

from shared.events.rules import Match, RuleAction
from tests.faults.evidence import StoredEvent
from tests.faults.lab import Lab
from tests.faults.levers import KNOWN_SECONDS, is_swept, ruled
from tests.faults.row import Expectations, Row
from tests.faults.rows_adversary import name_of
from tests.faults.rows_worker import at
from tests.support.delivery import deliveries
from worker.ruling import RULE_REASON

NAME: Final = name_of(3)
"""Every seventh event has it."""


def _named(stored: dict[str, StoredEvent], states: Collection[str | None]) -> set[str]:
    return {e.event_id for e in stored.values() if e.event_name == NAME and e.state in states}


async def held_under_load(lab: Lab) -> None:
    """One name is held; the worker that publishes it again is killed before and after it did so."""
    async with ruled(lab.rules, RuleAction.HOLD, Match(event_name=NAME)) as rule_id:
        await lab.hold(KNOWN_SECONDS / lab.scale)
        before = _named(await lab.stored(), {"PENDING"})
        await lab.kill("worker-1")
        await lab.restart("worker-1", {"FAULT_POINTS": "sweep_after_begin=exit@1"})
        await lab.until_sent(1.0)
        await lab.hold(2.0)
        held = _named(await lab.stored(), {"PENDING"})
        lab.require(len(held) > 0, "nothing was held: no fault")
        lab.require(before <= held, f"{len(before - held)} held events were settled while the rule stood")
        assert lab.stack.statsig_log is not None
        sent = before & deliveries(lab.stack.statsig_log).keys()
        lab.require(not sent, f"{len(sent)} held events were sent while the rule stood")
    lab.healed_at = time.time()
    await lab.until_ended("worker-1", 60)
    await lab.restart("worker-1", {"FAULT_POINTS": "sweep_before_end=exit@1"})
    await lab.until_ended("worker-1", 120)
    await lab.restart("worker-1")

    async def swept() -> bool:
        return await is_swept(lab.rules, rule_id)

    await lab.until_true(swept, "the held events were published again", 120)


async def paused_under_load(lab: Lab) -> None:
    """All forwarding is paused, and a worker killed and started meanwhile."""
    async with ruled(lab.rules, RuleAction.PAUSE):
        await lab.hold(KNOWN_SECONDS / lab.scale)
        requests = await lab.requests()
        await lab.kill("worker-1")
        await lab.restart("worker-1")
        await lab.until_sent(1.0)
        lab.require(await lab.requests() == requests, "requests were made while forwarding was paused")
        lab.require(await lab.pending() > 0, "nothing was pending: no fault")
    lab.healed_at = time.time()


async def dead_lettered_by_rule(lab: Lab) -> None:
    """One name is dead-lettered, and a worker killed between publishing a dead letter and settling."""
    async with ruled(lab.rules, RuleAction.DEAD_LETTER, Match(event_name=NAME)):
        await lab.until_ended("worker-1")
        await lab.restart("worker-1")
        await lab.until_sent(1.0)
        await lab.until_true(lab.settled, "everything settled", 90)
    dead = _named(await lab.stored(), {"DEAD"})
    lab.require(len(dead) > 0, "nothing was dead-lettered: no fault")


RULE_ROWS: Final = (
    Row(
        id="F62",
        title="one event name held; its worker killed before and after it publishes them again",
        fault=held_under_load,
        event_name=name_of,
        load_seconds=20.0,
        expect=Expectations(duplicates_per_incident=None, drain_seconds=90),
        linger_seconds=1.0,
    ),
    Row(
        id="F63",
        title="forwarding paused under load; a worker killed meanwhile",
        fault=paused_under_load,
        event_name=name_of,
        load_seconds=20.0,
        expect=Expectations(duplicates_per_incident=None, drain_seconds=60),
        linger_seconds=1.0,
    ),
    Row(
        id="F64",
        title="one event name dead-lettered by rule; a worker killed before it settles",
        fault=dead_lettered_by_rule,
        settings=at("after_dead_letter_publish", "exit@2"),
        event_name=name_of,
        load_seconds=15.0,
        expect=Expectations(duplicates_per_incident=None, dead_letters={RULE_REASON: 100_000}, drain_seconds=60),
    ),
)
