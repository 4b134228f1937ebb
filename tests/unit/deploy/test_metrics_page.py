"""The table of metrics in deploy/METRICS.md says what shared/telemetry/metrics.py says."""

from collections.abc import Iterator

from deploy.local.stack import REPOSITORY
from shared.events.forward_ledger import ClaimOutcome
from shared.telemetry.metrics import METRICS, Metric
from worker.disposition import Disposition

PAGE = (REPOSITORY / "deploy" / "METRICS.md").read_text()
HEAD = ("| Metric | Kind | Unit | By | What it says |", "|---|---|---|---|---|")


def row(metric: Metric) -> str:
    by = ", ".join(f"`{attribute}`" for attribute in metric.attributes)
    return f"| `{metric.name}` | {metric.kind} | `{metric.unit}` | {by} | {metric.meaning} |"


def table(lines: list[str]) -> Iterator[str]:
    for line in lines[lines.index(HEAD[0]) :]:
        if not line.startswith("|"):
            return
        yield line


def line_with(text: str) -> str:
    (line,) = [line for line in PAGE.splitlines() if line.startswith(text)]
    return line


def test_the_table_of_metrics_is_what_the_code_defines() -> None:
    assert list(table(PAGE.splitlines())) == [*HEAD, *map(row, METRICS)]


def test_every_outcome_of_a_claim_is_explained() -> None:
    line = line_with("`event_log.claim.events` has")
    assert all(f"`{outcome}`" in line for outcome in ClaimOutcome)


def test_every_disposition_is_a_field_of_the_line_of_a_batch() -> None:
    line = line_with("| `batch_forwarded` |")
    assert all(f"`{disposition}`" in line for disposition in Disposition)
