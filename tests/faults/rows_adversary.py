"""The adversary (A1): Statsig does anything, some events are poisoned, processes are killed and stopped, all at random.

A2 is the same with operators' rules that come and go at random.
Only what must hold in any case is checked. The plan is drawn from the seed and written to the run's folder: a seed that
failed fails again, as far as the machine's timing allows.
"""

import json
import signal
import time
from collections import defaultdict
from dataclasses import asdict, replace
from typing import Final

import anyio

from shared.events.rules import MATCHING, Match, RuleAction
from tests.faults.adversary import Act, Lever, Plan, levers_of
from tests.faults.lab import Lab
from tests.faults.levers import ruled
from tests.faults.row import Expectations, Poisoned, Row, StandInRule
from tests.faults.rows_ingress import RESTARTS, STORAGE_TROUBLE

WORKERS: Final = 2

MANY_PER_SECOND: Final = 40.0
"""The rate of more events than usual. While two requests in five fail, two workers with one lane each deliver some 40
events a second of a backlog; 100 a second are carried for the usual 20 s."""

LOAD_SECONDS: Final = 20.0
"""The time of the usual 2,000 events; more take longer."""

SPAN: Final = 0.75
"""The share of the load's time in which the acts begin."""

QUICK_SPAN_SECONDS: Final = 2.0
"""The same in a quick look, in seconds."""

QUICK_ACTS: Final = 2
QUICK_LEVERS: Final = 4

NAMES: Final = 7
"""Names of events."""

SEEDS: Final = tuple(range(1, 21))

ANY_REASON: Final = frozenset(
    {"exhausted", *(f"http_{code}" for code in (400, 401, 403, 404, 405, 408, 409, 413, 418, 422, 429))}
)
"""A random answer, and not the one that it is poisoned with, may be a poisoned event's last."""

REQUESTS_EACH: Final = 40
"""Requests that may carry one poisoned event. Others fail at random, so that it is searched for repeatedly: the trials,
and one search more for each kill of a process that has it."""

DELIVERED_SECONDS: Final = 60.0
"""Seconds after the last fault. A claim may have to end (10 s), and a message's backoff (10 s, then 20 s); a suspect
may wait for its next trial, and the circuit for its next probe (5 s at most)."""


def others_may_die(events: int) -> int:
    """How many good events may be dead-lettered by chance: two requests in five fail, also of good events alone.

    A 400, 413 or 422 dead-letters at once where others are confirmed. One request in 35 draws one, and while so many
    fail most carry a single event. Without any confirmation twenty more may be dead-lettered. The log of requests must
    have the reason of each.
    """
    return 20 + events // 10


def poison_of(seed: int) -> tuple[StandInRule, ...]:
    return Plan.of(seed, workers=WORKERS).poison


async def everything_at_once(lab: Lab) -> None:
    plan = Plan.of(lab.client.seed, workers=WORKERS)
    path = anyio.Path(lab.stack.run_dir / "plan.json")
    await path.write_text(json.dumps(asdict(plan), indent=2))
    await lab.statsig_rules(plan.chance)
    acts = plan.acts if lab.scale >= 1 else plan.acts[:QUICK_ACTS]
    span = _span_seconds(lab)
    # One act at a time for each process; several processes may be down at once.
    turns: dict[str, anyio.Lock] = defaultdict(anyio.Lock)
    async with anyio.create_task_group() as tasks:
        for act in acts:
            tasks.start_soon(_perform, lab, act, span, turns[act.process])
    await lab.until_sent(1.0)
    await lab.statsig()
    lab.healed_at = time.time()


async def everything_and_rules(lab: Lab) -> None:
    levers = levers_of(lab.client.seed, names=NAMES)
    path = anyio.Path(lab.stack.run_dir / "levers.json")
    await path.write_text(json.dumps([asdict(lever) for lever in levers], indent=2))
    async with anyio.create_task_group() as tasks:
        for lever in levers if lab.scale >= 1 else levers[:QUICK_LEVERS]:
            tasks.start_soon(_pull, lab, lever, _span_seconds(lab))
        await everything_at_once(lab)
    lab.healed_at = time.time()


def _span_seconds(lab: Lab) -> float:
    return SPAN * lab.load.seconds if lab.scale >= 1 else QUICK_SPAN_SECONDS


async def _pull(lab: Lab, lever: Lever, span: float) -> None:
    await anyio.sleep(lever.at * span)
    action = RuleAction(lever.action)
    match = Match(event_name=name_of(lever.name)) if action in MATCHING else Match()
    async with ruled(lab.rules, action, match):
        await lab.hold(lever.seconds)


async def _perform(lab: Lab, act: Act, span: float, turn: anyio.Lock) -> None:
    await anyio.sleep(act.at * span)
    async with turn:
        if act.what == "kill":
            await lab.kill(act.process)
            await lab.hold(act.seconds)
            await lab.restart(act.process)
        else:
            process = lab.stack.processes[act.process]
            process.send_signal(signal.SIGSTOP)
            await lab.hold(act.seconds)
            process.send_signal(signal.SIGCONT)


def name_of(number: int) -> str:
    """Several names, since bad events make the name of all their events suspect."""
    return f"fault_lab_{number % NAMES}"


_A1: Final = Row(
    id="A1",
    title="Statsig does anything, 1 to 2 % of the events are poisoned, processes are killed and stopped",
    fault=everything_at_once,
    event_name=name_of,
    lasting=poison_of,
    seeds=SEEDS,
    workers=WORKERS,
    tries=RESTARTS,
    load_seconds=LOAD_SECONDS,
    many_per_second=MANY_PER_SECOND,
    linger_seconds=1.0,
    # As deployed: with three, one good event in sixteen that failed once would be dead-lettered by chance.
    settings={"SUSPECT_ATTEMPTS": "6"},
    expect=Expectations(
        duplicates_per_incident=None,
        # A caller may give up while the ingress is killed repeatedly; its last answer is an error then.
        failures=STORAGE_TROUBLE,
        poisoned=Poisoned(
            reasons=ANY_REASON,
            requests_each=REQUESTS_EACH,
            share_of_requests=0.5,
            may_stay_pending=True,
            others_may_die=others_may_die,
        ),
        delivered_after_heal_seconds=DELIVERED_SECONDS,
        drain_seconds=DELIVERED_SECONDS + 10,
    ),
)

assert _A1.expect.poisoned is not None

ADVERSARY_ROWS: Final = (
    _A1,
    replace(
        _A1,
        id="A2",
        title="the same, and operators' rules come and go",
        fault=everything_and_rules,
        expect=replace(
            _A1.expect,
            failures=STORAGE_TROUBLE | {"failed_precondition"},
            poisoned=replace(_A1.expect.poisoned, dead_by_rule=frozenset(map(name_of, range(NAMES)))),
        ),
    ),
)
