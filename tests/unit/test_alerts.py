"""The alerts of deploy/terraform: each has its section in the runbook, and its line or metric in the code."""

import re
from collections.abc import Iterator

import pytest

from deploy.local.stack import REPOSITORY
from shared.settings import WorkerSettings
from shared.telemetry.metrics import METRICS
from tests.support.hcl import read_module

MODULE = read_module(REPOSITORY / "deploy" / "terraform")
POLICIES = MODULE.of_type("google_monitoring_alert_policy")
RUNBOOK = (REPOSITORY / "deploy" / "RUNBOOK.md").read_text()


def anchor(heading: str) -> str:
    """As GitHub and GitLab make it."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def sections_of_alerts() -> list[str]:
    """The headings under `Alerts`, without backticks."""
    (part,) = re.findall(r"^## Alerts\n(.*?)(?=^## )", RUNBOOK, re.MULTILINE | re.DOTALL)
    return [heading.replace("`", "") for heading in re.findall(r"^### (.+)$", part, re.MULTILINE)]


def alerts() -> Iterator[tuple[str, str]]:
    """Title and section of each."""
    for key, alert in MODULE.locals["line_alerts"].items():
        yield key, alert["section"]
    for alert in (MODULE.locals["metric_alerts"] | MODULE.locals["telemetry_alerts"]).values():
        yield alert["title"], alert["section"]
    ratio = POLICIES["google_monitoring_alert_policy.error_ratio"]
    yield ratio["display_name"].removeprefix("${var.name}: "), link(ratio).partition("#")[2]


def link(policy: dict[str, object]) -> str:
    (url,) = re.findall(r"'url': '([^']+)'", str(policy))
    return str(url)


def test_every_alert_is_named_as_its_own_section_of_the_runbook() -> None:
    assert sorted(title for title, _ in alerts()) == sorted(sections_of_alerts())
    assert [(title, section) for title, section in alerts() if anchor(title) != section] == []


@pytest.mark.parametrize("address", sorted(POLICIES))
def test_every_policy_links_to_the_section_of_its_alert(address: str) -> None:
    policy = POLICIES[address]
    (documentation,) = policy["documentation"]
    assert f"({link(policy)})" in documentation["content"]
    if "for_each" in policy:
        assert link(policy) == "${var.runbook_url}#${each.value.section}"
        assert policy["display_name"] in {"${var.name}: ${each.key}", "${var.name}: ${each.value.title}"}


def test_there_is_an_alert_for_each_way_to_go_wrong() -> None:
    assert MODULE.locals["line_alerts"].keys() == {"circuit_opened", "statsig_refuses_us", "settle_failed"}
    assert MODULE.locals["metric_alerts"].keys() == {"oldest_unacked", "dead_letters", "unaccounted"}
    assert MODULE.locals["telemetry_alerts"].keys() == {"oldest_pending", "telemetry_missing"}
    assert POLICIES.keys() == {
        f"google_monitoring_alert_policy.{name}" for name in ("line", "metric", "telemetry", "error_ratio")
    }


def test_every_line_that_alerts_is_written() -> None:
    code = "\n".join(path.read_text() for path in (REPOSITORY / "worker").rglob("*.py"))
    lines = MODULE.locals["line_alerts"]
    assert [line for line in lines if not re.search(rf'log(?:\.\w+)?\(\s*"{line}"', code)] == []


def test_what_pages_a_person_about_lost_messages_does_not_depend_on_our_exporter() -> None:
    types = {re.search(r'metric\.type=\\?"([\w.]+)/', alert["filter"]) for alert in metric_alerts()}
    assert {found[1] for found in types if found} == {"pubsub.googleapis.com", "run.googleapis.com"}


def metric_alerts() -> list[dict[str, str]]:
    return list(MODULE.locals["metric_alerts"].values())


def test_alerts_of_our_metrics_name_metrics_that_exist_in_this_deployment_alone() -> None:
    for alert in MODULE.locals["telemetry_alerts"].values():
        (name, matchers) = re.findall(r'\{\\?"([\w.]+)\\?", ([^}]+\})', alert["query"])[0]
        assert name in {metric.name for metric in METRICS}
        # service.namespace of what is exported (shared/telemetry/providers.py).
        assert matchers.startswith("namespace="), matchers
        assert "google_spanner_database.this.name" in matchers
    assert MODULE.resources["google_spanner_database.this"]["name"] == "${var.name}", "what the dashboard filters by"


def test_alerts_of_our_metrics_are_there_where_there_is_something_to_export_them() -> None:
    condition = POLICIES["google_monitoring_alert_policy.telemetry"]["for_each"]
    assert "if local.exports_to_google && local.processes == 1" in condition


def test_an_event_may_be_pending_for_many_rounds_of_the_reconciler_before_a_person_is_woken() -> None:
    (seconds,) = re.findall(r"> (\d+)", MODULE.locals["telemetry_alerts"]["oldest_pending"]["query"])
    defaults = {name: field.default for name, field in WorkerSettings.model_fields.items()}
    assert int(seconds) >= 10 * (defaults["reconcile_after_seconds"] + defaults["reconcile_interval_seconds"])
