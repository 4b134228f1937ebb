"""The results of a run as a table in Markdown."""

from collections.abc import Mapping, Sequence

from tests.faults.verdict import RunVerdict

COLUMNS = (
    "row", "fault", "seed", "events", "answered", "lost", "duplicated (allowed)", "ambiguous", "dead letters",
    "p50/p99 ms before", "during", "after", "drain s", "verdict",
)  # fmt: skip


def table(verdicts: Sequence[RunVerdict], left_out: Mapping[str, str]) -> str:
    """`left_out` has the reason of each row that was not run."""
    lines = [_line(COLUMNS), _line(["---"] * len(COLUMNS)), *(_line(_cells(verdict)) for verdict in verdicts)]
    return "\n".join([*lines, "", *_summary(verdicts), "", "Not run here:", "", *_left_out(left_out)]) + "\n"


def _cells(verdict: RunVerdict) -> list[str]:
    return [
        verdict.row.id,
        verdict.row.title,
        str(verdict.seed),
        str(verdict.events),
        str(verdict.answered),
        str(verdict.lost),
        f"{verdict.duplicated} ({verdict.allowed})",
        str(verdict.ambiguous),
        str(verdict.dead),
        str(verdict.before),
        str(verdict.during),
        str(verdict.after),
        f"{verdict.drain_seconds:.1f}",
        "; ".join([_verdict(verdict), *verdict.notes]),
    ]


def _verdict(verdict: RunVerdict) -> str:
    return "ok" if not verdict.breaches else "**" + "; ".join(verdict.breaches).replace("|", "\\|")[:300] + "**"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _summary(verdicts: Sequence[RunVerdict]) -> list[str]:
    events = sum(verdict.events for verdict in verdicts)
    peak = max((value for verdict in verdicts for value in verdict.peak_mib.values()), default=0.0)
    failed = sum(bool(verdict.breaches) for verdict in verdicts)
    counts = (
        f"{len(verdicts)} runs, {failed} with breaches; {events} events, {sum(v.lost for v in verdicts)} lost, "
        f"{sum(v.duplicated for v in verdicts)} duplicated, {sum(v.ambiguous for v in verdicts)} counted as ambiguous; "
        f"a process held {peak:.0f} MiB at most."
    )
    return [
        counts,
        "Emulators and everything else ran on one machine: latencies compare phases of a row, nothing else.",
    ]


def _left_out(left_out: Mapping[str, str]) -> list[str]:
    return [f"- {row}: {why}" for row, why in left_out.items()]
