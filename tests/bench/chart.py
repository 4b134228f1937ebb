"""The chart of the bench: calls a second and CPU time a call, a bar for each way."""

import math
from collections.abc import Collection, Iterator, Mapping
from typing import Final

from tests.bench import svg
from tests.bench.markdown import number
from tests.bench.measures import calls
from tests.bench.results import CPU_MS, RATE, Key, Results
from tests.bench.ways import ECHOES, SERVERS, THIS

WIDTH: Final = 720
LABELS: Final = 110
VALUES: Final = 80
BAR: Final = 16
ROW: Final = 24
HEAD: Final = 48
"""The height of a panel's title and scale."""

PANELS: Final = ((RATE, "calls/s"), (CPU_MS, "CPU time of the process a call, ms"))

COLOURS: Final = {THIS.name: "#0969da", **{way.name: "#8c959f" for way in ECHOES}}
PEER: Final = "#bf8700"


def bench_chart(results: Results) -> str:
    """Bars on a logarithmic scale: between the slowest way and an echo lie two orders of magnitude."""
    parts: list[str] = []
    height = 0
    for figure, title in PANELS:
        found = {
            way.name: value
            for way in SERVERS
            if (value := results.median(Key(calls.NAME, calls.MOST, way.name), figure)) is not None
        }
        parts += _panel(height, f"{title}, {calls.MOST} (logarithmic)", found)
        height += HEAD + ROW * len(found)
    return svg.document(WIDTH, height, "The ways beside one another", parts)


def _panel(top: int, title: str, values: Mapping[str, float]) -> Iterator[str]:
    yield svg.text(8, top + 20, title, bold=True)
    if not values:
        yield svg.text(8, top + 40, "not measured")
        return
    low, high = _decades(values.values())
    room = WIDTH - LABELS - VALUES
    bottom = top + HEAD + ROW * len(values)
    for decade in range(low, high + 1):
        x = LABELS + room * (decade - low) / (high - low)
        yield svg.line([(x, top + HEAD - 6), (x, bottom - 4)], svg.FAINT)
        yield svg.text(x, top + HEAD - 10, number(10.0**decade), anchor="middle")
    for place, (name, value) in enumerate(values.items()):
        y = top + HEAD + ROW * place
        length = room * (math.log10(value) - low) / (high - low)
        yield svg.text(LABELS - 8, y + 13, name, anchor="end", bold=name == THIS.name)
        yield svg.bar(LABELS, y, length, BAR, COLOURS.get(name, PEER))
        yield svg.text(LABELS + length + 6, y + 13, number(value))


def _decades(values: Collection[float]) -> tuple[int, int]:
    """The powers of ten around the values, at least two."""
    low = math.floor(math.log10(min(values)))
    return low, max(low + 1, math.ceil(math.log10(max(values))))
