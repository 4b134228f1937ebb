"""Fits text into a number of columns: wraps it, shortens it, puts blocks side by side; pure."""

import textwrap
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Final

GAP: Final = "   "


def wrapped(text: str, columns: int, *, indent: str = "") -> Iterator[str]:
    """The text as lines of at most so many columns; the second and later ones are indented. Words are not broken."""
    yield from textwrap.wrap(
        text, columns, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    ) or [""]


def shortened(text: str, columns: int) -> str:
    """The text cut to so many columns, an ellipsis included."""
    return text if len(text) <= columns else f"{text[: columns - 1]}…"


def beside(blocks: Sequence[Sequence[str]], columns: int) -> Iterator[str]:
    """The lines of the blocks, as many blocks side by side as fit, the others below them."""
    row: list[Sequence[str]] = []
    taken = 0
    for block in blocks:
        wide = max(map(len, block), default=0) + len(GAP)
        if row and taken + wide - len(GAP) > columns:
            yield from _one_row(row)
            row, taken = [], 0
        row.append(block)
        taken += wide
    yield from _one_row(row)


def _one_row(blocks: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, block), default=0) for block in blocks]
    for parts in zip_longest(*blocks, fillvalue=""):
        yield GAP.join(part.ljust(width) for part, width in zip(parts, widths, strict=True)).rstrip()
