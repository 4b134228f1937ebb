"""Text for a given width: wrapped, shortened, and blocks side by side where they fit; pure."""

import textwrap
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Final

GAP: Final = "   "


def wrapped(text: str, columns: int, *, indent: str = "") -> Iterator[str]:
    """Lines of no more columns, but for words that are longer; the second and later ones are indented."""
    yield from textwrap.wrap(
        text, columns, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    ) or [""]


def shortened(text: str, columns: int) -> str:
    """With an ellipsis in place of what does not fit."""
    return text if len(text) <= columns else f"{text[: columns - 1]}…"


def beside(blocks: Sequence[Sequence[str]], columns: int) -> Iterator[str]:
    """As many blocks beside each other as there are columns for, the others below."""
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
