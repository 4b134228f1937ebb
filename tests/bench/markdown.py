"""Tables in Markdown, and the format of their numbers."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

NOTHING: Final = "-"
TIMES: Final = "\u00d7"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """The lines of a table."""
    yield _line(heads)
    yield _line(["---"] * len(heads))
    yield from (_line(row) for row in rows)


def number(value: float) -> str:
    """Three significant digits, and no decimals from a hundred on."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
