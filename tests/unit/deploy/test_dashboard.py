"""The dashboard shows every metric of the code, and no other."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from deploy.local.stack import REPOSITORY
from shared.process.settings import IngressSettings
from shared.telemetry.metrics import METRICS, Metric, MetricKind
from tests.support.parsers.hcl import read_module

FOLDER = REPOSITORY / "deploy" / "terraform"
TEXT = (FOLDER / "dashboard.json").read_text()
TILES: list[dict[str, Any]] = json.loads(TEXT)["mosaicLayout"]["tiles"]
BY_NAME = {metric.name: metric for metric in METRICS}

# What may be made of a metric of each kind: counters and counts are rates or sums, a distribution is percentiles.
ALIGNERS = {
    MetricKind.COUNTER: {"ALIGN_RATE", "ALIGN_DELTA"},
    MetricKind.HISTOGRAM: {"ALIGN_DELTA"},
    MetricKind.GAUGE: {"ALIGN_MAX"},
}


@dataclass(frozen=True)
class Shown:
    """One line of a chart that shows a metric of ours."""

    title: str
    metric: Metric
    labels: frozenset[str]
    """By which it is grouped or filtered."""

    unit: str
    expected_unit: str


def charts() -> Iterator[tuple[str, dict[str, Any]]]:
    for tile in TILES:
        for data_set in tile["widget"].get("xyChart", {}).get("dataSets", []):
            yield tile["widget"]["title"], data_set["timeSeriesQuery"]


def shown() -> Iterator[Shown]:
    for title, query in charts():
        if "prometheusQuery" in query:
            yield from_promql(title, query["prometheusQuery"], query["unitOverride"])
        elif "prometheus_target" in query["timeSeriesFilter"]["filter"]:
            yield from_filter(title, query["timeSeriesFilter"], query["unitOverride"])


def from_filter(title: str, body: dict[str, Any], unit: str) -> Shown:
    """Names and kinds as docs.cloud.google.com/stackdriver/docs/reference/telemetry/v1.metrics has them."""
    words: str = body["filter"]
    aggregation = body["aggregation"]
    (found,) = re.findall(r'metric\.type="prometheus\.googleapis\.com/([\w.]+)/(\w+)"', words)
    metric = BY_NAME[found[0]]
    assert metric.kind == found[1], title
    assert aggregation["perSeriesAligner"] in ALIGNERS[metric.kind], title
    assert metric.kind is not MetricKind.HISTOGRAM or "PERCENTILE" in aggregation["crossSeriesReducer"], title
    assert 'resource.labels.namespace="${name}"' in words, title
    labels = re.findall(r"metric\.labels\.(\w+)", " ".join([words, *aggregation["groupByFields"]]))
    rate = "/s" if aggregation["perSeriesAligner"] == "ALIGN_RATE" else ""
    return Shown(title, metric, frozenset(labels), unit, metric.unit + rate)


def from_promql(title: str, query: str, unit: str) -> Shown:
    (selector,) = re.findall(r"\{(?!name\})(.+)\}", query)
    name, *matchers = re.split(r", ", selector)
    assert 'namespace="${name}"' in matchers, title
    series = name.strip('"')
    metric = BY_NAME[series.removesuffix("_count")]
    counts = series.endswith("_count")
    assert counts == (metric.kind is MetricKind.HISTOGRAM), title
    assert counts == ("rate(" in query), title
    groups = re.findall(r"by \(([^)]+)\)", query)[0].split(", ")
    matched = [re.split(r"!?=", matcher)[0] for matcher in matchers]
    labels = {label.strip('"') for label in [*groups, *matched]} - {"namespace"}
    return Shown(title, metric, frozenset(labels), unit, "1/s" if counts else metric.unit)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_every_metric_is_shown_by_each_of_its_attributes(metric: Metric) -> None:
    of_metric = [each for each in shown() if each.metric is metric]
    assert of_metric, "not shown"
    assert set(metric.attributes) == {label for each in of_metric for label in each.labels}


@pytest.mark.parametrize(
    "metric", [m for m in METRICS if m.kind is MetricKind.HISTOGRAM], ids=lambda metric: metric.name
)
def test_every_histogram_shows_its_99th_percentile(metric: Metric) -> None:
    reducers = {
        query["timeSeriesFilter"]["aggregation"]["crossSeriesReducer"]
        for _, query in charts()
        if f"/{metric.name}/histogram" in query.get("timeSeriesFilter", {}).get("filter", "")
    }
    assert "REDUCE_PERCENTILE_99" in reducers


def test_units_are_those_of_the_metrics() -> None:
    assert [(each.title, each.unit) for each in shown() if each.unit != each.expected_unit] == []


def test_lines_that_are_drawn_as_limits_are_the_limits() -> None:
    alerts = read_module(FOLDER).locals
    metric_alerts = alerts["metric_alerts"]
    drawn = {
        tile["widget"]["title"]: tile["widget"]["xyChart"]["thresholds"][0]["value"]
        for tile in TILES
        if "thresholds" in tile["widget"].get("xyChart", {})
    }
    assert drawn == {
        "Oldest event that has not arrived": int(
            re.findall(r"> (\d+)", alerts["telemetry_alerts"]["oldest_pending"]["query"])[0]
        ),
        "From acceptance to delivery": alerts["delivery_seconds"],
        "Dead letters that came, in 5 minutes": metric_alerts["dead_letters"]["threshold"],
        "Dead letters that are not collected: age of the oldest, of 7 days that Pub/Sub keeps them": metric_alerts[
            "uncollected"
        ]["threshold"],
        "Forward messages: oldest one not done with": metric_alerts["oldest_unacked"]["threshold"],
        "Duration of commits": alerts["commit_seconds"],
        "Rows that wait for a commit, fullest ingress": IngressSettings.model_fields["commit_queue_rows"].default,
        # Of one region; in several it is less (alerts.tf).
        "Spanner: CPU": float(re.findall(r"\? ([\d.]+) :", metric_alerts["spanner_cpu"]["threshold"])[0]),
    }


@pytest.mark.parametrize(
    ("key", "title"),
    [
        ("oldest_unacked", "Forward messages: oldest one not done with"),
        ("dead_letters", "Dead letters that came, in 5 minutes"),
        ("uncollected", "Dead letters that are not collected: age of the oldest, of 7 days that Pub/Sub keeps them"),
    ],
)
def test_what_alerts_are_made_of_is_drawn_over_the_same_time(key: str, title: str) -> None:
    """So that the line crosses when the alert fires."""
    (query,) = [
        tile["widget"]["xyChart"]["dataSets"][0]["timeSeriesQuery"]["timeSeriesFilter"]
        for tile in TILES
        if tile["widget"].get("title") == title
    ]
    module = read_module(FOLDER)
    alert = module.locals["metric_alerts"][key]
    (subscription,) = re.findall(r"google_pubsub_subscription\.\w+", alert["filter"])
    assert query["aggregation"] == {
        "alignmentPeriod": alert["period"],
        "perSeriesAligner": alert["aligner"],
        "crossSeriesReducer": alert["reducer"],
        "groupByFields": alert["group_by"],
    }
    assert re.findall(r'metric\.type="([^"]+)"', query["filter"]) == re.findall(
        r'metric\.type=\\?"([^"\\]+)', alert["filter"]
    )
    name = module.resources[subscription]["name"].replace("${var.name}", "${name}")
    assert f'subscription_id="{name}"' in query["filter"]


def test_tiles_fill_their_rows_without_overlap_and_have_names_of_their_own() -> None:
    cells = {
        (x, y)
        for tile in TILES
        for x in range(tile["xPos"], tile["xPos"] + tile["width"])
        for y in range(tile["yPos"], tile["yPos"] + tile["height"])
    }
    titles = [tile["widget"]["title"] for tile in TILES if "title" in tile["widget"]]

    assert len(cells) == sum(tile["width"] * tile["height"] for tile in TILES)
    assert len(cells) == 48 * (max(y for _, y in cells) + 1)
    assert len(titles) == len(set(titles))


def test_nothing_is_counted_from_log_lines_and_the_name_is_all_that_is_filled_in() -> None:
    module = read_module(FOLDER)
    assert set(re.findall(r"\$\{(\w+)\}", TEXT)) == {"name"}
    assert "logging.googleapis.com/user" not in TEXT + str(module.resources) + str(module.locals)
    assert module.of_type("google_logging_metric") == {}


def test_googles_own_metrics_are_there_where_ours_are_not() -> None:
    """A worker that exports nothing leaves these."""
    for metric in (
        "pubsub.googleapis.com/subscription/oldest_unacked_message_age",
        "pubsub.googleapis.com/subscription/num_undelivered_messages",
        "spanner.googleapis.com/instance/cpu/utilization_by_priority",
        "run.googleapis.com/container/instance_count",
    ):
        assert metric in TEXT
