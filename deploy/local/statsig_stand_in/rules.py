"""The rules: parsing a control body, choosing the rule for a request in order, counting uses; pure."""

import json
import random
from collections.abc import Sequence
from typing import Annotated, Any, Final, Self

from pydantic import Field, PositiveInt, ValidationError, model_validator

from deploy.local.statsig_stand_in.behaviours import ACCEPT, Behaviour, Drip, Hang, Reset, Slow, Spec, Status
from deploy.local.statsig_stand_in.chance import Chance
from deploy.local.statsig_stand_in.selection import Selection

REFUSE_EVENT: Final = "refuse_event"
"""Shorthand for the most common rule: a status, by default 400, for batches that hold certain events."""


class InvalidControlError(Exception):
    """The control body is not a list of rules; the message is one line that says where and why."""


class Rule(Spec):
    """One instruction. Without `times` it holds forever; `probability` draws per request from a seeded sequence.

    With `events` it applies only to requests that hold one of them.
    """

    behaviour: Annotated[Status | Hang | Reset | Slow | Drip | Chance, Field(discriminator="kind")]
    events: Selection | None = None
    times: PositiveInt | None = None
    probability: float | None = Field(default=None, gt=0, le=1)
    seed: int | None = None

    @model_validator(mode="before")
    @classmethod
    def _spell_out(cls, rule: Any) -> Any:
        behaviour = rule.get("behaviour") if isinstance(rule, dict) else None
        if not isinstance(behaviour, dict) or behaviour.get("kind") != REFUSE_EVENT or "events" in rule:
            return rule
        events = {name: value for name, value in behaviour.items() if name not in {"kind", "status"}}
        return {**rule, "behaviour": {"kind": "status", "status": behaviour.get("status", 400)}, "events": events}

    @model_validator(mode="after")
    def _seed_has_a_purpose(self) -> Self:
        if self.seed is not None and self.probability is None:
            raise ValueError("seed without probability does nothing")
        return self


class _Control(Spec):
    rules: list[Rule]


def parse_control(body: bytes) -> list[Rule]:
    """Read `{"rules": [...]}` or the bare list.

    Raises:
        InvalidControlError: neither, or a rule is wrong.
    """
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidControlError(f"not JSON: {error}") from error
    try:
        return _Control.model_validate({"rules": value} if isinstance(value, list) else value).rules
    except ValidationError as error:
        raise InvalidControlError(
            "; ".join(_one_line(problem["loc"], problem["msg"]) for problem in error.errors())
        ) from error


def _one_line(location: Sequence[int | str], message: str) -> str:
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(".")
    return f"{where or 'body'}: {message}".replace("\n", " ")


class _ActiveRule:
    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.used = 0
        # Each rule has sequences of its own, so that no rule's draws shift those of another.
        self._random = random.Random(rule.seed or 0)  # noqa: S311 - repeatable faults, not cryptography
        self._chance = random.Random(getattr(rule.behaviour, "seed", 0))  # noqa: S311 - as above

    @property
    def left(self) -> int | None:
        return None if self.rule.times is None else self.rule.times - self.used

    def draw(self) -> Behaviour | None:
        """What it does with the next request; None if its probability spares that one."""
        behaviour = self.rule.behaviour
        drawn = behaviour.drawn(self._chance) if isinstance(behaviour, Chance) else behaviour
        return drawn if self.rule.probability is None or self._random.random() < self.rule.probability else None

    def concerns(self, events: Sequence[dict[str, Any]]) -> bool:
        return self.left != 0 and (self.rule.events is None or self.rule.events.concerns(events))

    def shown(self) -> dict[str, Any]:
        events = self.rule.events
        return {
            **self.rule.model_dump(mode="json", exclude_none=True),
            "times": self.rule.times,
            "used": self.used,
            "left": self.left,
            "summary": self.rule.behaviour.describe() + ("" if events is None else f" {events.describe()}"),
        }


class Turn:
    """The rules that may apply to one request, drawn when its headers are in."""

    def __init__(self, candidates: Sequence[tuple[_ActiveRule, Behaviour]]) -> None:
        self._candidates = candidates

    def early_reset(self) -> Reset | None:
        """The reset to make before the body is read, which counts as a use; None if the body decides.

        It is made only by the first rule with times left, and not by one that is limited to `events`.
        """
        for active, behaviour in self._candidates:
            if active.left == 0:
                continue
            if isinstance(behaviour, Reset) and behaviour.when == "before_read" and active.rule.events is None:
                active.used += 1
                return behaviour
            return None
        return None

    def decide(self, events: Sequence[dict[str, Any]]) -> Behaviour:
        """Use the first rule with times left that concerns the events; accept if there is none."""
        for active, behaviour in self._candidates:
            if active.concerns(events):
                active.used += 1
                return behaviour
        return ACCEPT


class RuleBook:
    """The rules in force."""

    def __init__(self) -> None:
        self._active: list[_ActiveRule] = []

    def replace(self, rules: Sequence[Rule]) -> None:
        self._active = [_ActiveRule(rule) for rule in rules]

    def turn(self) -> Turn:
        """Draw for every rule: a rule's n-th draw then belongs to the n-th request, whichever rule is used."""
        drawn = [(active, active.draw()) for active in self._active]
        return Turn([(active, behaviour) for active, behaviour in drawn if behaviour is not None])

    def shown(self) -> list[dict[str, Any]]:
        return [active.shown() for active in self._active]
