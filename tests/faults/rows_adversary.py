"""The adversary (A1): Statsig does anything, some events are poisoned, processes die and stand still, all at random.

Nothing is known of what should happen but what must hold in any case. Everything is drawn from the seed, and the plan
is written to the run's folder: a seed that fails fails again, as far as the machine's own timing lets it.
"""

import json
import signal
import time
from collections import defaultdict
from dataclasses import asdict
from typing import Final

import anyio

from tests.faults.adversary import Act, Plan
from tests.faults.lab import Lab
from tests.faults.row import Expectations, Poisoned, Row, StandInRule
from tests.faults.rows_ingress import RESTARTS, STORAGE_TROUBLE

WORKERS: Final = 2

SPAN_SECONDS: Final = 15.0
QUICK_SPAN_SECONDS: Final = 2.0
"""In which the acts begin."""

QUICK_ACTS: Final = 2

SEEDS: Final = tuple(range(1, 21))

ANY_REASON: Final = frozenset(
    {"exhausted", *(f"http_{code}" for code in (400, 401, 403, 404, 405, 408, 409, 413, 418, 422, 429))}
)
"""The last answer to a poisoned event need not be the one that it is poisoned with."""

REQUESTS_EACH: Final = 40
"""That carry one poisoned event. Requests fail without its doing too, so that it is searched for again and again: as
many as the trials and, for each time that a process dies with it, a search more."""

DELIVERED_SECONDS: Final = 60.0
"""After the last fault. A claim may have to end (10 s), a message's backoff too (10 s, then 20 s), a suspect to wait
for its next trial, and the circuit for its next probe (5 s at the most)."""


def others_may_die(events: int) -> int:
    """Good events that are blamed by chance: each fails alone while others are confirmed, as two requests in five do.

    A 400, 413 or 422 is believed at once. One request in 35 draws one, and most carry a single event while so many
    fail. Twenty more may be believed without any confirmation. The log of requests must have the reason of each.
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
    span = SPAN_SECONDS if lab.scale >= 1 else QUICK_SPAN_SECONDS
    # One at a time for each process; several processes may be down at once.
    turns: dict[str, anyio.Lock] = defaultdict(anyio.Lock)
    async with anyio.create_task_group() as tasks:
        for act in acts:
            tasks.start_soon(_perform, lab, act, span, turns[act.process])
    await lab.until_sent(1.0)
    await lab.statsig()
    lab.healed_at = time.time()


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
    """Several, since bad events of one name bring it into disrepute."""
    return f"fault_lab_{number % 7}"


ADVERSARY_ROWS: Final = (
    Row(
        id="A1",
        title="Statsig does anything, 1 to 2 % of the events are poisoned, processes are killed and stopped",
        fault=everything_at_once,
        event_name=name_of,
        lasting=poison_of,
        seeds=SEEDS,
        workers=WORKERS,
        tries=RESTARTS,
        load_seconds=SPAN_SECONDS + 5,
        linger_seconds=1.0,
        # As deployed: with three, one good event in sixteen that failed once would die by chance.
        settings={"SUSPECT_ATTEMPTS": "6"},
        expect=Expectations(
            duplicates_per_incident=None,
            # A caller may give up while the ingress is killed again and again: it was told so.
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
    ),
)
