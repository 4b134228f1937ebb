"""The table of the fairness bench."""

from collections.abc import Iterator, Sequence

from tests.bench.fairness.measuring import Beside
from tests.bench.markdown import NOTHING, TIMES, number, table

HEADS = (
    "Beside",
    "alone p50 / p99 ms",
    "beside p50 / p99 ms",
    "p99",
    "calls, failed",
    "after p50 / p99 ms",
    "MiB before → peak → after",
    "after / before",
    "what the load got",
)


def report(measured: Sequence[Beside]) -> Iterator[str]:
    """The lines of a table in Markdown."""
    return table(HEADS, [_row(each) for each in measured])


def _row(each: Beside) -> list[str]:
    before, most, after = each.mib
    alone, beside, afterwards = (
        f"{number(answers.percentile_ms(50))} / {number(answers.percentile_ms(99))}"
        for answers in (each.alone, each.beside, each.afterwards)
    )
    return [
        each.load.name,
        alone,
        beside,
        f"{number(each.beside.percentile_ms(99) / each.alone.percentile_ms(99))} {TIMES}",
        f"{len(each.beside.seconds)}, {_counts(each.beside.failed) or '0'}",
        afterwards,
        f"{before:.0f} → {most:.0f} → {after:.0f}",
        f"{number(after / before)} {TIMES}",
        _counts(each.flood) or NOTHING,
    ]


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {TIMES} {name}" for name, count in sorted(counts.items()))
