"""The adversary's plan: everything that it will do in one run, drawn from the run's seed. Values only."""

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
"""What a poisoned event may draw, by what the answer proves: of each kind as often."""

MAYBE_KEPT: Final = frozenset({409, 500, 503, "reset", "hang"})
"""What also Statsig may answer that has kept the events."""

SETS: Final = (2, 4)
"""Of poisoned events, at least and at most; each draws one thing for ever."""

SHARE_OF_A_SET: Final = (0.003, 0.007)
"""Of all event ids: one to two in a hundred altogether."""

ACCEPTED_SHARE: Final = 0.6
LONGEST_DELAY_SECONDS: Final = 1.5
"""Of an answer: some outlast STATSIG_TIMEOUT_SECONDS, which the rows set to one."""

ACTS: Final = 8
PAST_A_CLAIM_SECONDS: Final = (11.0, 13.0)
"""For a worker to be stopped so long that another one takes over what it has at Statsig."""

SHORT_STOP_SECONDS: Final = (0.3, 3.0)
"""Within the deadline of a call, which is five."""


@dataclass(frozen=True, slots=True)
class Act:
    """What is done to a process."""

    at: float
    """Of the time that the adversary has, between 0 and 1."""

    process: str
    what: Literal["kill", "stop"]
    seconds: float
    """Until it is started again, or goes on."""


@dataclass(frozen=True, slots=True)
class Plan:
    seed: int
    poison: tuple[Mapping[str, Any], ...]
    """The stand-in's rules that stay."""

    chance: Mapping[str, Any]
    """And the one that goes with the heal."""

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
    # Workers three times as often: what they do has more steps between which to die.
    worker = f"worker-{source.randint(1, workers)}"
    process = source.choice(("ingress", worker, worker, worker))
    what: Literal["kill", "stop"] = source.choice(["kill", "stop"])
    is_long = what == "stop" and process != "ingress" and source.random() < 0.25
    seconds = source.uniform(*(PAST_A_CLAIM_SECONDS if is_long else SHORT_STOP_SECONDS))
    return Act(source.random(), process, what, seconds)
