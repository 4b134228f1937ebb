"""The events that a row's lasting rules poison: the stand-in for Statsig never accepts them."""

from collections.abc import Mapping
from typing import Self

from deploy.local.statsig_stand_in import Rule
from deploy.local.statsig_stand_in.selection import Selection
from tests.faults.row import Row


class Poison:
    """Uses the stand-in's own selections, so that the lab expects exactly what the stand-in does."""

    def __init__(self, selections: tuple[Selection, ...]) -> None:
        self._selections = selections

    @classmethod
    def of(cls, row: Row, seed: int) -> Self:
        if row.expect.poisoned is None:
            return cls(())
        rules = [Rule.model_validate(dict(rule)) for rule in row.lasting(seed)]
        return cls(tuple(rule.events for rule in rules if rule.events is not None))

    def among(self, names: Mapping[str, str]) -> set[str]:
        """The poisoned ones of these events, which are names by event_id."""
        return {
            event_id
            for event_id, name in names.items()
            if any(selection.holds(event_id, name) for selection in self._selections)
        }
