"""The adversary's plan: all that it does in one run, drawn from the run's seed. Values only."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Self

KINDS: Final[tuple[tuple[int | str, ...], ...]] = (
    (400, 413, 422),
    (403, 404),
    (409, 500, 503),
    ("reset", "hang"),
)
"""Answers to a poisoned event, grouped by what they prove; each group is drawn equally often."""

MAYBE_KEPT: Final = frozenset({409, 500, 503, "reset", "hang"})
"""Answers after which Statsig may have kept the events all the same."""

SETS: Final = (2, 4)
"""The least and the most sets of poisoned events; each set draws the same answer all the time."""

SHARE_OF_A_SET: Final = (0.003, 0.007)
"""The share of all event ids in a set: the sets together have one to two in a hundred."""

ACCEPTED_SHARE: Final = 0.6
LONGEST_DELAY_SECONDS: Final = 1.5
"""The longest delay of an answer: some outlast STATSIG_TIMEOUT_SECONDS, which the rows set to 1 s."""

ACTS: Final = 8
PAST_A_CLAIM_SECONDS: Final = (11.0, 13.0)
"""Stops that outlast a worker's claims, so that another worker takes over its events."""

SHORT_STOP_SECONDS: Final = (0.3, 3.0)
"""Stops within the deadline of a call, which is 5 s."""


@dataclass(frozen=True, slots=True)
class Act:
    """A kill or a stop of a process."""

    at: float
    """When, as a share of the adversary's time: 0 to 1."""

    process: str
    what: Literal["kill", "stop"]
    seconds: float
    """Seconds until it is started again, or continued."""


@dataclass(frozen=True, slots=True)
class Lever:
    """An operator's rule."""

    at: float
    """When, as a share of the adversary's time: 0 to 1."""

    action: str
    name: int
    """The number of the event name that it is for; a pause and a probe are for all."""

    seconds: float
    """Seconds until it is removed."""


LEVERS: Final = 8
LEVER_SECONDS: Final = (1.0, 12.0)
"""Some are gone before every process has read them."""


def levers_of(seed: int, *, names: int) -> tuple[Lever, ...]:
    """Random rules. From a source of their own, so that the plan of a seed is the same with and without them."""
    source = random.Random(f"levers {seed}")
    return tuple(
        Lever(
            source.random(),
            source.choice(("hold", "hold", "pause", "probe", "store_only", "refuse", "dead_letter")),
            source.randrange(names),
            source.uniform(*LEVER_SECONDS),
        )
        for _ in range(LEVERS)
    )


@dataclass(frozen=True, slots=True)
class Plan:
    seed: int
    poison: tuple[Mapping[str, Any], ...]
    """Rules of the stand-in that hold from the start to the end."""

    chance: Mapping[str, Any]
    """The rule of random answers, which ends with the heal."""

    acts: tuple[Act, ...]

    @classmethod
    def of(cls, seed: int, *, workers: int) -> Self:
        source = random.Random(f"adversary {seed}")
        poison = tuple(_poisoned_set(source) for _ in range(source.randint(*SETS)))
        chance = {
            "kind": "random",
            "accepts_share": ACCEPTED_SHARE,
            "longest_delay_seconds": LONGEST_DELAY_SECONDS,
            "seed": source.getrandbits(32),
        }
        acts = sorted((_act(source, workers) for _ in range(ACTS)), key=lambda act: act.at)
        return cls(seed, poison, {"behaviour": chance}, tuple(acts))


def _poisoned_set(source: random.Random) -> dict[str, Any]:
    what = source.choice(source.choice(KINDS))
    behaviour: dict[str, Any] = {"kind": what} if isinstance(what, str) else {"kind": "status", "status": what}
    if what in MAYBE_KEPT and source.random() < 0.5:
        behaviour["accept"] = True
    share = round(source.uniform(*SHARE_OF_A_SET), 5)
    return {"behaviour": behaviour, "events": {"share": share, "seed": source.getrandbits(32)}}


def _act(source: random.Random, workers: int) -> Act:
    # Workers three times as often: they have more steps to be killed between.
    worker = f"worker-{source.randint(1, workers)}"
    process = source.choice(("ingress", worker, worker, worker))
    what: Literal["kill", "stop"] = source.choice(["kill", "stop"])
    is_long = what == "stop" and process != "ingress" and source.random() < 0.25
    seconds = source.uniform(*(PAST_A_CLAIM_SECONDS if is_long else SHORT_STOP_SECONDS))
    return Act(source.random(), process, what, seconds)
