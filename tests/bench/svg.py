"""The parts of SVG that the charts need."""

from collections.abc import Iterable
from html import escape
from typing import Final, Literal

INK: Final = "#24292f"
FAINT: Final = "#d0d7de"

FONT: Final = "font-family='system-ui, sans-serif' font-size='12'"

Anchor = Literal["start", "middle", "end"]


def document(width: int, height: int, title: str, parts: Iterable[str]) -> str:
    """A document on white, since the page around it may be dark."""
    size = f"viewBox='0 0 {width} {height}' width='{width}' height='{height}'"
    return "\n".join(
        [
            f"<svg xmlns='http://www.w3.org/2000/svg' {size} role='img' {FONT} fill='{INK}'>",
            f"<title>{escape(title)}</title>",
            f"<rect width='{width}' height='{height}' fill='white'/>",
            *parts,
            "</svg>\n",
        ]
    )


def text(x: float, y: float, words: str, *, anchor: Anchor = "start", bold: bool = False) -> str:
    weight = " font-weight='600'" if bold else ""
    return f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}'{weight}>{escape(words)}</text>"


def bar(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f"<rect x='{x:.1f}' y='{y:.1f}' width='{max(width, 1):.1f}' height='{height:.1f}' fill='{colour}'/>"


def line(points: Iterable[tuple[float, float]], colour: str, *, width: float = 1) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f"<polyline points='{path}' fill='none' stroke='{colour}' stroke-width='{width:g}'/>"


def dot(x: float, y: float, colour: str) -> str:
    return f"<circle cx='{x:.1f}' cy='{y:.1f}' r='3' fill='{colour}'/>"
