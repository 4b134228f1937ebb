"""The chart of bench-growth: by what factor each figure gets worse, over the number of rows."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from tests.bench import svg
from tests.bench.markdown import number

WIDTH: Final = 720
HEIGHT: Final = 380
LEFT: Final = 48
RIGHT: Final = 240
"""Space for the names of the curves."""

TOP: Final = 44
BOTTOM: Final = 36
LEGEND_ROW: Final = 20

LEAST_SCALE: Final = 2
"""The least end of the scale, so that flat curves look flat."""

MOST_STEPS: Final = 8
"""The most steps of the scale."""

COLOURS: Final = ("#0969da", "#54aeff", "#1a7f37", "#6fdd8b", "#bf8700", "#cf222e", "#8250df")

Curve = Sequence[tuple[int, float]]


def growth_chart(curves: Mapping[str, Curve]) -> str:
    """A line for each figure; flat is good."""
    title = "How many times worse with more rows in the tables"
    return svg.document(WIDTH, HEIGHT, title, [svg.text(8, 20, title, bold=True), *_plot(curves)])


def _plot(curves: Mapping[str, Curve]) -> Iterator[str]:
    points = [point for curve in curves.values() for point in curve]
    if not points:
        yield svg.text(8, 40, "not measured")
        return
    fewest, most = min(rows for rows, _ in points), max(rows for rows, _ in points)
    step = math.ceil(max(worse for _, worse in points) / MOST_STEPS)
    highest = max(LEAST_SCALE, step * math.ceil(max(worse for _, worse in points) / step))
    decades = math.log10(most / fewest) or 1.0

    def place(rows: int, worse: float) -> tuple[float, float]:
        x = LEFT + (WIDTH - LEFT - RIGHT) * math.log10(rows / fewest) / decades
        return x, HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * worse / highest

    for worse in range(0, highest + 1, step):
        yield svg.line([place(fewest, worse), place(most, worse)], svg.FAINT)
        yield svg.text(LEFT - 6, place(fewest, worse)[1] + 4, number(worse), anchor="end")
    for rows in sorted({rows for rows, _ in points}):
        yield svg.text(place(rows, 0)[0], HEIGHT - BOTTOM + 18, f"{rows:,}", anchor="middle")
    for place_number, (name, curve) in enumerate(curves.items()):
        colour = COLOURS[place_number % len(COLOURS)]
        yield svg.line([place(*point) for point in curve], colour, width=2)
        for point in curve:
            yield svg.dot(*place(*point), colour)
        y = TOP + LEGEND_ROW * place_number
        yield svg.dot(WIDTH - RIGHT + 20, y, colour)
        yield svg.text(WIDTH - RIGHT + 30, y + 4, name)
