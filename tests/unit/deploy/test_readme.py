"""What README.md says of the metrics is what shared/telemetry/metrics.py says."""

from collections.abc import Iterator

from deploy.local.stack import REPOSITORY
from shared.telemetry.metrics import METRICS, Metric

HEAD = ("| Metric | Kind | Unit | By | What it says |", "|---|---|---|---|---|")


def row(metric: Metric) -> str:
    by = ", ".join(f"`{attribute}`" for attribute in metric.attributes)
    return f"| `{metric.name}` | {metric.kind} | `{metric.unit}` | {by} | {metric.meaning} |"


def table(lines: list[str]) -> Iterator[str]:
    for line in lines[lines.index(HEAD[0]) :]:
        if not line.startswith("|"):
            return
        yield line


def test_the_table_of_metrics_is_what_the_code_defines() -> None:
    readme = (REPOSITORY / "README.md").read_text().splitlines()
    assert list(table(readme)) == [*HEAD, *map(row, METRICS)]
