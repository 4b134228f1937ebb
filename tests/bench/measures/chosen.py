"""All measures, in the order in which they run: the quick ones first, and the five minutes of one load last."""

from collections.abc import Sequence
from typing import Final

from tests.bench.bench import Measure
from tests.bench.errors import BenchError
from tests.bench.measures.batches import BATCHES
from tests.bench.measures.calls import CALLS
from tests.bench.measures.confirmation import CONFIRMATION
from tests.bench.measures.drains import DRAIN
from tests.bench.measures.frozen import FROZEN_CALLS
from tests.bench.measures.limits import LIMIT
from tests.bench.measures.memory import MEMORY
from tests.bench.measures.payloads import PAYLOAD
from tests.bench.measures.starts import START
from tests.bench.measures.tracing import TRACING

MEASURES: Final = (
    CONFIRMATION,
    START,
    CALLS,
    BATCHES,
    PAYLOAD,
    TRACING,
    FROZEN_CALLS,
    LIMIT,
    DRAIN,
    MEMORY,
)


def chosen(names: str) -> Sequence[Measure]:
    """The measures of a comma-separated list, in the usual order; all where it is empty.

    Raises:
        BenchError: a name is unknown.
    """
    wanted = {name.strip() for name in names.split(",") if name.strip()}
    if unknown := wanted - {measure.name for measure in MEASURES}:
        known = ", ".join(measure.name for measure in MEASURES)
        raise BenchError(f"no measure {', '.join(sorted(unknown))}; there are {known}")
    return [measure for measure in MEASURES if not wanted or measure.name in wanted]
