"""`limits`: what the services and libraries allow alone."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

import anyio

from deploy.local.stack import REPOSITORY
from tests.bench.backlog import new_rows, publish
from tests.bench.bench import Bench, Figures, Measure
from tests.bench.errors import MeasurementError
from tests.bench.options import Options
from tests.bench.results import Key

NAME: Final = "limits"
WAY: Final = "limit"

END_SECONDS: Final = 60.0
"""The time beyond its load for a limit's program to start and end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    case: str
    module: str
    events: int
    """Events of an operation."""

    in_flight: int = 1
    pulls: bool = False


LONE_COMMIT: Final = "commit of 1"
PULLS: Final = "pull and ack only"
FLUSHES: Final = "SDK flush of 500"

LIMITS: Final = (
    Limit(case=LONE_COMMIT, module="commits", events=1),
    # The emulator works on one commit at a time, and several abort each other: one at a time is its limit, four in
    # flight are the ingress's default.
    Limit(case="commits of 64", module="commits", events=64),
    Limit(case="commits of 64, 4 at once", module="commits", events=64, in_flight=4),
    Limit(case="publishes of 64", module="publishes", events=64, in_flight=4),
    # As many in flight as the worker has pulls and lanes by default.
    Limit(case=PULLS, module="pulls", events=500, in_flight=4, pulls=True),
    Limit(case=FLUSHES, module="flushes", events=500, in_flight=2),
)


async def _run(bench: Bench) -> None:
    for turn in range(bench.options.rounds):
        for limit in LIMITS:
            await bench.attempt(Key(NAME, limit.case, WAY), turn, partial(_measured, bench, limit))


async def _measured(bench: Bench, limit: Limit) -> Figures:
    async with bench.world(limit.module, keeps_messages=limit.pulls) as world:
        environment = dict(world.environment)
        if limit.module == "flushes":
            environment |= (await world.play_statsig()).settings
        if limit.pulls:
            await publish(environment, new_rows(bench.options.backlog))
        return await _said_by(limit, environment, bench.options.seconds)


async def _said_by(limit: Limit, environment: Mapping[str, str], seconds: int) -> Figures:
    command = [sys.executable, "-m", f"tests.bench.limits.{limit.module}", f"{seconds}"]
    command += [f"--events={limit.events}", f"--in-flight={limit.in_flight}"]
    with anyio.fail_after(seconds + END_SECONDS):
        done = await anyio.run_process(command, env=environment, cwd=REPOSITORY, check=False)
    if done.returncode != 0:
        raise MeasurementError(f"{limit.module} ended with {done.returncode}: {done.stderr.decode()[-500:]}")
    said: Figures = json.loads(done.stdout)
    return said


def _steps(options: Options) -> int:
    return options.rounds * len(LIMITS)


LIMIT: Final = Measure(name=NAME, unit="event", steps=_steps, run=_run)
