"""A double's only source of randomness."""

import math
import random
from typing import Any

from tests.support.emulators.pubsub_manners.manners import Seconds


class Chance:
    """Shares of 0 draw no random number: manners that are off do not change those of others."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def hits(self, share: float) -> bool:
        return share > 0 and self._random.random() < share

    def seconds(self, between: Seconds) -> float:
        return self._random.uniform(*between) if between[1] > 0 else 0.0

    def part_of(self, most: int) -> int:
        """A number from 1 to `most`, each order of magnitude equally often."""
        return max(1, round(math.exp(self._random.uniform(0, math.log(most)))))

    def off_by(self) -> int:
        """By how much a count is wrong."""
        return self._random.choice((-2, -1, 1, 2))

    def shuffled(self, items: list[Any]) -> list[Any]:
        return self._random.sample(items, len(items))
