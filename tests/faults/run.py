"""A run of a row: start everything, load, fault, heal, drain, check."""

import random
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import anyio

from deploy.local.emulators import Emulators
from deploy.local.provision import StackNames, provisioner
from deploy.local.stack import StackOptions, running_stack
from tests.faults.checker import check
from tests.faults.client import Load, OpenLoopClient
from tests.faults.evidence import gather_evidence, open_checker_database, process_log
from tests.faults.lab import Lab
from tests.faults.levers import rule_table
from tests.faults.links import linked, settings_of
from tests.faults.measures import MemoryWatch
from tests.faults.row import IMPATIENT, QUICK, Row
from tests.faults.verdict import Run, RunVerdict
from tests.support.emulators.pubsub_manners.manners import Manners
from tests.support.emulators.pubsub_manners.process import with_manners

DEFAULT_EVENTS: Final = 2000

BEFORE: Final = 0.25
"""The share of events that is sent before the fault begins."""

QUICK_PER_SECOND: Final = 120.0
"""The least rate of a quick look, even if the row's load would last longer."""

MOST_PER_SECOND: Final = 300.0
"""The highest rate of a steady load: about the usual one, and half of what two cores with both emulators carry."""

DRAIN_SECONDS: Final = 120.0
"""After this pending events count as stuck: leases that no client ended were seen to last two minutes."""

DRAINED_PER_SECOND: Final = 200.0
"""The least drain rate of events beyond the default number: they get more time to drain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    events: int = DEFAULT_EVENTS
    quick: bool = False
    """Shorter faults and no slow load, for a run with few events."""

    full: bool = False
    """The scenarios at full length."""

    arguments_of: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By program, as in StackOptions: how it is started without a guard."""

    manners: Manners | None = None
    """How Pub/Sub behaves; None leaves it to the emulator."""


async def run_row(row: Row, *, seed: int, emulators: Emulators, run_dir: Path, options: RunOptions) -> RunVerdict:
    await anyio.Path(run_dir).mkdir(parents=True, exist_ok=True)
    more_seconds = max(0, options.events - DEFAULT_EVENTS) / DRAINED_PER_SECOND
    async with _running_lab(row, seed, emulators, run_dir, options) as lab:
        if row.lasting(seed):
            await lab.statsig()
        async with anyio.create_task_group() as background:
            background.start_soon(lab.memory.run)
            marks = await _load_and_break(lab)
            done_at = time.time()
            await lab.heal()
            await _drain(lab, DRAIN_SECONDS + more_seconds)
            drained_at = time.time()
            await anyio.sleep(row.linger_seconds)
            background.cancel_scope.cancel()
        names = ["ingress", *lab.worker_names()]
        run = Run(
            fault_at=lab.fault_at,
            healed_at=lab.healed_at,
            drain_seconds=drained_at - max(lab.healed_at, done_at),
            incidents=lab.incidents,
            memory_growth_mib=lab.memory.growth_since(marks),
            peak_mib=lab.memory.peaks(),
            noted=lab.breaches,
            more_drain_seconds=more_seconds,
            notes=lab.notes,
            logs={name: process_log(lab.stack, name) for name in names},
        )
        evidence = await gather_evidence(lab.stack, lab.database, lab.found_dead_letters)
        return check(row, seed, lab.client.attempts, evidence, run)


@asynccontextmanager
async def _running_lab(
    row: Row, seed: int, emulators: Emulators, run_dir: Path, options: RunOptions
) -> AsyncIterator[Lab]:
    events = max(1, int(options.events * row.load_share))
    per_second = events / (row.full_load_seconds if options.full and row.full_load_seconds else row.load_seconds)
    most = row.many_per_second if options.events > DEFAULT_EVENTS else MOST_PER_SECOND
    load = Load(
        events=events,
        per_second=max(per_second, QUICK_PER_SECOND) if options.quick else min(per_second, most),
        tries=row.tries,
        deadline_seconds=row.deadline_seconds,
        event_name=row.event_name,
        abandon_after=_abandon_soon if row.abandon else None,
    )
    stack_names = StackNames.unique("f")
    manners = options.manners and replace(options.manners, seed=seed)
    async with with_manners(emulators, manners, run_dir) as seen, linked(seen) as links:
        stack_options = StackOptions(
            workers=row.workers,
            settings={**IMPATIENT, **(QUICK if options.quick else {}), **row.settings},
            settings_of=settings_of(links),
            arguments_of={**_wrapped(row, run_dir), **options.arguments_of},
        )
        async with (
            running_stack(run_dir, stack_options, names=stack_names, emulators=emulators) as stack,
            open_checker_database(stack) as database,
            OpenLoopClient(stack.ingress_url, run_dir / "client.jsonl", seed) as client,
        ):
            yield Lab(
                row=row,
                stack=stack,
                client=client,
                load=load,
                links=links,
                database=database,
                rules=rule_table(database),
                memory=MemoryWatch(stack.processes),
                random=random.Random(seed),
                scale=0.4 if options.quick else 1.0,
                full=options.full,
                events=options.events,
            )
    async with provisioner(emulators) as admin:
        await admin.delete_topics(stack_names)
        await admin.delete_instance(stack_names)


async def _load_and_break(lab: Lab) -> dict[str, int]:
    """Returns the numbers of memory samples when the fault began."""
    async with anyio.create_task_group() as calls:
        calls.start_soon(lab.client.run, lab.load)
        await lab.until_sent(BEFORE)
        marks = lab.memory.marks()
        async with _timed(lab):
            await lab.row.fault(lab)
    return marks


async def _drain(lab: Lab, seconds: float) -> None:
    async def settled() -> bool:
        for name, process in list(lab.stack.processes.items()):
            if process.returncode is not None:
                lab.breaches.append(f"{name} ended by itself with {process.returncode}")
                await lab.restart(name)
        return await lab.settled()

    await lab.until_true(settled, "everything settled", seconds)


def _wrapped(row: Row, run_dir: Path) -> dict[str, Sequence[str]]:
    return {
        program: ("-m", *(part.format(run_dir=run_dir) for part in wrapper), program)
        for program, wrapper in row.wrappers.items()
    }


def _abandon_soon(source: random.Random) -> float:
    return source.uniform(0.001, 0.03)


@asynccontextmanager
async def _timed(lab: Lab) -> AsyncIterator[None]:
    """Notes the fault's beginning and end, unless the fault notes better ones itself."""
    begun = time.time()
    try:
        yield
    finally:
        lab.fault_at = lab.fault_at or begun
        lab.healed_at = lab.healed_at or time.time()
