"""The alerts and objectives of deploy/terraform: each leads to a section of the runbook, and is made of what there is.

How many there are, and when, is asked of Terraform itself (deploy/terraform/tests/watching.tftest.hcl).
"""

import re
from typing import Any

import pytest
from connectrpc.code import Code

from deploy.local.stack import REPOSITORY
from ingress import error_codes
from shared import errors
from shared.errors import EventLoggingError
from shared.process.settings import WorkerSettings
from shared.telemetry.metrics import METRICS, MetricKind
from tests.support.parsers.hcl import read_module

MODULE = read_module(REPOSITORY / "deploy" / "terraform")
POLICIES = MODULE.of_type("google_monitoring_alert_policy")
RUNBOOK = (REPOSITORY / "deploy" / "RUNBOOK.md").read_text()
METRIC_OF = {metric.name: metric for metric in METRICS}
OBJECTIVES: dict[str, dict[str, Any]] = MODULE.locals["objectives"]

CALLERS_MISTAKES = {"invalid_argument", "already_exists", "failed_precondition"}
"""Codes that are no fault of ours, whatever their number; `failed_precondition` is an operator's rule."""

LINES = MODULE.locals["line_alerts"]
ALERTS: dict[str, dict[str, Any]] = {
    **{key: {**alert, "title": key} for key, alert in LINES.items()},
    **MODULE.locals["metric_alerts"],
    **MODULE.locals["ratio_alerts"],
    **MODULE.locals["telemetry_alerts"],
}


def anchor(heading: str) -> str:
    """As GitHub and GitLab make it."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def sections_of_alerts() -> set[str]:
    """The anchors of the headings under `Alerts`."""
    (part,) = re.findall(r"^## Alerts\n(.*?)(?=^## )", RUNBOOK, re.MULTILINE | re.DOTALL)
    return {anchor(heading) for heading in re.findall(r"^### (.+)$", part, re.MULTILINE)}


def link(policy: dict[str, object]) -> str:
    (url,) = re.findall(r"'url': '([^']+)'", str(policy))
    return str(url)


# --- words and links -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", sorted(ALERTS))
def test_every_alert_leads_to_a_section_of_the_runbook(key: str) -> None:
    assert ALERTS[key]["section"] in sections_of_alerts()


@pytest.mark.parametrize("key", sorted(OBJECTIVES))
def test_every_objective_leads_to_a_section_of_the_runbook(key: str) -> None:
    assert OBJECTIVES[key]["section"] in sections_of_alerts()


def test_every_section_about_an_alert_has_one_that_leads_to_it() -> None:
    led_to = {each["section"] for each in (*ALERTS.values(), *OBJECTIVES.values())}
    assert sections_of_alerts() - led_to == set()


def test_an_alert_is_named_as_its_section_unless_it_shares_another_ones() -> None:
    own = {alert["section"] for alert in ALERTS.values() if anchor(alert["title"]) == alert["section"]}
    assert {alert["section"] for alert in ALERTS.values()} - own == set()


@pytest.mark.parametrize("key", sorted(ALERTS))
def test_every_alert_says_what_it_means_in_a_notification(key: str) -> None:
    meaning = ALERTS[key]["meaning"]
    assert meaning.endswith(".")
    assert 40 < len(meaning) < 250


@pytest.mark.parametrize("address", sorted(POLICIES))
def test_every_policy_documents_itself_with_its_meaning_and_a_link_to_its_section(address: str) -> None:
    policy = POLICIES[address]
    (documentation,) = policy["documentation"]
    assert link(policy) == "${var.runbook_url}#${each.value.section}"
    assert documentation["content"].startswith("${each.value.meaning}")
    assert f"({link(policy)})" in documentation["content"]
    assert policy["display_name"] in {"${var.name}: ${each.key}", "${var.name}: ${each.value.title}"}
    assert policy["notification_channels"] == "${var.notification_channels}"


def test_what_callers_and_operators_feel_has_an_alert() -> None:
    assert LINES.keys() == {"circuit_opened", "statsig_refuses_us", "settle_failed", "log_lines_dropped"}
    assert MODULE.locals["metric_alerts"].keys() == {
        "oldest_unacked", "dead_letters", "uncollected", "unaccounted", "spanner_cpu", "spanner_cpu_day",
    }  # fmt: skip
    assert MODULE.locals["ratio_alerts"].keys() == {"calls_fail", "calls_late", "calls_refused"}
    assert MODULE.locals["telemetry_alerts"].keys() == {
        "oldest_pending", "arrive_late", "commits_fail", "events_refused", "publish_paused", "telemetry_missing",
    }  # fmt: skip
    assert OBJECTIVES.keys() == {"calls", "events", "commits", "deliveries", "accounts"}
    assert POLICIES.keys() == {
        f"google_monitoring_alert_policy.{name}" for name in ("line", "metric", "ratio", "telemetry", "burn")
    }


# --- what they are made of -------------------------------------------------------------------------------------------


def test_every_line_that_alerts_is_written_with_the_field_that_is_taken_from_it() -> None:
    code = "\n".join(
        path.read_text() for folder in ("ingress", "shared", "worker") for path in (REPOSITORY / folder).rglob("*.py")
    )
    assert [line for line in LINES if not re.search(rf'(?:log|logger\(\))(?:\.\w+)?\(\s*"{line}"', code)] == []
    assert {alert["label"] for alert in LINES.values()} == {"reason", "process"}
    assert 'event_dict["process"] = process' in code, "every line has it"


def test_what_pages_a_person_about_lost_messages_does_not_depend_on_our_exporter() -> None:
    types = {
        found[1]
        for alert in MODULE.locals["metric_alerts"].values()
        if (found := re.search(r'metric\.type=\\?"([\w.]+)/', alert["filter"]))
    }
    assert types == {"pubsub.googleapis.com", "run.googleapis.com", "spanner.googleapis.com"}


def selectors(query: str) -> list[tuple[str, list[str]]]:
    """The metric and the matchers of each selector of a PromQL query, as alerts_of_ours.tf writes them."""
    found = re.findall(r'\{\\?"([\w.]+)\\?", ((?:\$\{[^}]+\}|[^}])+)\}', query)
    assert len(found) == query.count('{\\"') + query.count('{"')
    return [(name, matchers.split(", ")) for name, matchers in found]


@pytest.mark.parametrize("key", sorted(MODULE.locals["telemetry_alerts"]))
def test_alerts_of_our_metrics_name_what_is_exported_in_this_deployment_alone(key: str) -> None:
    for series, matchers in selectors(MODULE.locals["telemetry_alerts"][key]["query"]):
        name = re.sub(r"_(count|bucket)$", "", series)
        metric = METRIC_OF[name]
        assert (name != series) == (metric.kind is MetricKind.HISTOGRAM), series
        assert matchers[0] == "${local.of_this_deployment}"
        assert {re.split(r"!?[=~]+", matcher)[0] for matcher in matchers[1:]} <= set(metric.attributes)


def test_of_this_deployment_means_its_database() -> None:
    """service.namespace of what is exported (shared/telemetry/exporting.py)."""
    assert "google_spanner_database.this.name" in MODULE.locals["of_this_deployment"]
    assert "google_spanner_database.this.name" in MODULE.locals["exported"]
    assert MODULE.resources["google_spanner_database.this"]["name"] == "${var.name}", "what the dashboard filters by"


def test_alerts_of_our_metrics_are_there_where_there_is_something_to_export_them() -> None:
    condition = POLICIES["google_monitoring_alert_policy.telemetry"]["for_each"]
    assert "if local.exports_to_google && local.processes == 1" in condition


def test_every_code_is_either_the_callers_mistake_or_counts_as_a_refusal_of_ours() -> None:
    answered = {answer.code.value for answer in (*error_codes.ANSWERS.values(), error_codes.INTERNAL)}
    ours = set(MODULE.locals["refusals_of_ours"].split("|"))
    assert answered - CALLERS_MISTAKES <= ours
    assert ours & CALLERS_MISTAKES == set()
    assert ours <= {code.value for code in Code}


def outcomes(text: str) -> set[str]:
    (words,) = re.findall(r'outcome!?~?=?~?\\?"?(?:one_of\()?([^)]*?)(?:\\?"\}|\\?"\[|\))', text)
    return set(re.findall(r"\w+", words))


def test_outcomes_of_commits_are_words_that_commits_end_with() -> None:
    reasons = {
        each.reason for each in vars(errors).values() if isinstance(each, type) and issubclass(each, EventLoggingError)
    }
    query = MODULE.locals["telemetry_alerts"]["commits_fail"]["query"]
    (not_failures,) = re.findall(r'outcome!~\\?"([\w|]+)', query)
    words = set(not_failures.split("|"))
    assert words - reasons == {"ok", "CancelledError"}
    assert "storage_unavailable" in reasons - words
    assert outcomes(OBJECTIVES["commits"]["total"]) == {"ok", "storage_unavailable"}


def test_an_event_may_be_pending_for_many_rounds_of_the_reconciler_before_a_person_is_woken() -> None:
    (seconds,) = re.findall(r"> (\d+)", MODULE.locals["telemetry_alerts"]["oldest_pending"]["query"])
    defaults = {name: field.default for name, field in WorkerSettings.model_fields.items()}
    assert int(seconds) >= 10 * (defaults["reconcile_after_seconds"] + defaults["reconcile_interval_seconds"])


# --- objectives ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", sorted(key for key, objective in OBJECTIVES.items() if objective["ours"]))
def test_objectives_of_our_metrics_are_made_of_metrics_that_allow_it(key: str) -> None:
    objective = OBJECTIVES[key]
    ((name, kind),) = set(
        re.findall(r"prometheus\.googleapis\.com/([\w.]+)/(\w+)", f"{objective['total']} {objective['bad']}")
    )
    metric = METRIC_OF[name]
    assert metric.kind == kind
    assert kind == ("counter" if objective["bad"] else "histogram"), "no gauge counts anything"
    labels = set(re.findall(r"metric\.labels\.([\w.]+)=", f"{objective['total']} {objective['bad']}"))
    assert labels <= set(metric.attributes)
    assert objective["total"].startswith("${local.exported} AND ")


@pytest.mark.parametrize(("key", "limit"), [("commits", "commit_seconds"), ("deliveries", "delivery_seconds")])
def test_what_is_in_time_is_told_by_a_bucket_and_not_by_a_guess_within_one(key: str, limit: str) -> None:
    (name,) = re.findall(r"prometheus\.googleapis\.com/([\w.]+)/histogram", OBJECTIVES[key]["total"])
    boundaries = METRIC_OF[name].boundaries
    assert OBJECTIVES[key]["range"] == f"${{local.{limit}}}"
    assert boundaries is not None
    assert MODULE.locals[limit] in boundaries


def test_calls_and_accounts_are_counted_by_google_so_that_no_exporter_of_ours_can_hide_a_failure() -> None:
    google = {key for key, objective in OBJECTIVES.items() if not objective["ours"]}
    assert google == {"calls", "accounts"}
    assert all("prometheus" not in str(OBJECTIVES[key]) for key in google)


def test_a_callers_own_mistake_uses_up_no_budget() -> None:
    codes = set(re.findall(r'"(\w+)\\?"', OBJECTIVES["events"]["bad"].partition("one_of")[2].replace("\\", "")))
    assert codes == set(MODULE.locals["refusals_of_ours"].split("|")) - {"resource_exhausted"}
    assert "5xx" in OBJECTIVES["calls"]["bad"]
    assert '!=\\"501\\"' in OBJECTIVES["calls"]["bad"] or '!="501"' in OBJECTIVES["calls"]["bad"]


def test_the_daily_account_looks_further_back_than_to_the_one_before() -> None:
    job = str(MODULE.resources["google_cloud_run_v2_job.account"])
    (hours,) = re.findall(r"'--since', '(\d+)h'", job)
    assert int(hours) >= 2 * 24
