# Monitoring: alerts and objectives, and the metrics they use.

mock_provider "google" {
  source = "./tests/mocks"
}

variables {
  project             = "my-project"
  region              = "europe-west1"
  spanner_config      = "regional-europe-west1"
  statsig_environment = "production"
  invokers            = ["serviceAccount:shop@my-project.iam.gserviceaccount.com"]
  runbook_url         = "https://git.example.com/RUNBOOK.md"
  image               = "europe-west1-docker.pkg.dev/my-project/event-log/event-logging@sha256:0000000000000000000000000000000000000000000000000000000000000000"
}

run "alerts_that_need_nothing_of_ours_are_there_from_the_first_apply" {
  command = plan

  variables {
    image = null
  }

  assert {
    condition     = length(google_monitoring_alert_policy.line) == 4 && length(google_monitoring_alert_policy.metric) == 6 && length(google_monitoring_alert_policy.ratio) == 3
    error_message = "Log lines and Google's own metrics need no process of ours."
  }

  assert {
    condition     = length(google_monitoring_alert_policy.telemetry) + length(google_monitoring_slo.this) + length(google_monitoring_alert_policy.burn) == 0
    error_message = "Of what does not run nothing is asked."
  }
}

run "every_alert_goes_to_the_channels_and_leads_to_its_section" {
  command = apply

  variables {
    notification_channels = ["projects/my-project/notificationChannels/1"]
    metrics_have_arrived  = true
  }

  assert {
    condition = alltrue([for policy in concat(
      values(google_monitoring_alert_policy.line), values(google_monitoring_alert_policy.metric), values(google_monitoring_alert_policy.ratio),
      values(google_monitoring_alert_policy.telemetry), values(google_monitoring_alert_policy.burn),
    ) : policy.notification_channels == tolist(["projects/my-project/notificationChannels/1"])])
    error_message = "An alert that goes nowhere wakes nobody."
  }

  assert {
    condition = alltrue([for policy in concat(
      values(google_monitoring_alert_policy.line), values(google_monitoring_alert_policy.metric), values(google_monitoring_alert_policy.ratio),
      values(google_monitoring_alert_policy.telemetry), values(google_monitoring_alert_policy.burn),
      ) : startswith(policy.documentation[0].links[0].url, "https://git.example.com/RUNBOOK.md#") &&
    strcontains(policy.documentation[0].content, "(${policy.documentation[0].links[0].url})")])
    error_message = "Each documents itself with a link into the runbook."
  }
}

run "what_comes_and_what_stays_of_dead_letters_are_told_apart" {
  command = plan

  assert {
    condition = { for key in ["dead_letters", "uncollected"] : key => [
      regex("subscription/(\\w+)", google_monitoring_alert_policy.metric[key].conditions[0].condition_threshold[0].filter)[0],
      google_monitoring_alert_policy.metric[key].conditions[0].condition_threshold[0].threshold_value,
    ] } == { dead_letters = ["ack_message_count", 0], uncollected = ["oldest_unacked_message_age", 600] }
    error_message = "One that was collected waits for a person; one that was not is seen by nobody."
  }

  assert {
    condition     = alltrue([for policy in google_monitoring_alert_policy.metric : policy.alert_strategy[0].auto_close == "1800s"])
    error_message = "A count without data keeps no incident open, or the next one would wake nobody."
  }
}

run "spanner_may_use_less_in_each_of_several_regions" {
  command = plan

  variables {
    spanner_config = "eur3"
  }

  assert {
    condition     = google_monitoring_alert_policy.metric["spanner_cpu"].conditions[0].condition_threshold[0].threshold_value == 0.45
    error_message = "Google recommends 45 % in each of several regions."
  }
}

run "in_one_region_it_may_use_more" {
  command = plan

  assert {
    condition     = google_monitoring_alert_policy.metric["spanner_cpu"].conditions[0].condition_threshold[0].threshold_value == 0.65
    error_message = "Google recommends 65 % in one region."
  }
}

run "what_is_exported_is_asked_for_as_soon_as_something_exports" {
  command = plan

  variables {
    trace_ratio           = 0.5
    metric_export_seconds = 30
  }

  assert {
    condition     = length(google_monitoring_alert_policy.telemetry) == 6
    error_message = "PromQL alerts need no metric to exist."
  }

  assert {
    condition     = alltrue([for policy in google_monitoring_alert_policy.telemetry : strcontains(policy.conditions[0].condition_prometheus_query_language[0].query, "namespace=\"event-log\"")])
    error_message = "Of this deployment alone."
  }

  assert {
    condition     = length(setintersection(google_cloud_run_v2_service.ingress[0].template[0].containers[0].env[*].value, ["0.5", "30000", "https://telemetry.googleapis.com"])) == 3
    error_message = "The processes are told how much to export, and where to."
  }

  assert {
    condition     = length(google_project_iam_member.exports) == 6
    error_message = "Three identities write traces and metrics."
  }
}

run "a_collector_of_ones_own_takes_alerts_of_ours_and_grants_with_it" {
  command = plan

  variables {
    telemetry_endpoint   = "https://collector.example.com"
    metrics_have_arrived = true
  }

  assert {
    condition     = length(google_monitoring_alert_policy.telemetry) + length(google_project_iam_member.exports) == 0
    error_message = "What is not sent to Cloud Monitoring it cannot alert on."
  }

  assert {
    condition     = keys(google_monitoring_slo.this) == ["accounts", "calls"]
    error_message = "Google's own metrics are left."
  }
}

run "without_telemetry_the_processes_are_told_of_none" {
  command = plan

  variables {
    telemetry_endpoint = null
  }

  assert {
    condition     = !contains(google_cloud_run_v2_service.ingress[0].template[0].containers[0].env[*].name, "OTEL_EXPORTER_OTLP_ENDPOINT")
    error_message = "Null turns it off."
  }
}

run "objectives_of_metrics_that_do_not_exist_yet_are_not_made" {
  command = apply

  assert {
    condition     = keys(google_monitoring_slo.this) == ["accounts", "calls"]
    error_message = "Cloud Monitoring refuses an objective of a metric that it has never seen."
  }

  assert {
    condition     = keys(google_monitoring_alert_policy.burn) == ["calls_fast", "calls_slow"]
    error_message = "An account a day is no rate."
  }
}

run "objectives_are_all_there_once_metrics_have_arrived" {
  command = apply

  variables {
    metrics_have_arrived = true
  }

  assert {
    condition = { for key, objective in google_monitoring_slo.this : key => objective.goal } == {
      accounts = 0.999, calls = 0.999, commits = 0.99, deliveries = 0.99, events = 0.999
    }
    error_message = "Five objectives with the goals that variables.tf has reasons for."
  }

  assert {
    condition     = alltrue([for objective in google_monitoring_slo.this : objective.rolling_period_days == 30 && objective.service == "event-log"])
    error_message = "All of one service, over thirty days."
  }

  assert {
    condition     = google_monitoring_slo.this["deliveries"].request_based_sli[0].distribution_cut[0].range[0].max == 60
    error_message = "Delivered within 60 s."
  }

  assert {
    condition     = alltrue([for key in ["calls", "events", "accounts"] : length(google_monitoring_slo.this[key].request_based_sli[0].good_total_ratio) == 1 && length(google_monitoring_slo.this[key].request_based_sli[0].distribution_cut) == 0])
    error_message = "Shares are of counts."
  }
}

run "burn_rates_are_those_of_the_sre_workbook" {
  command = apply

  variables {
    metrics_have_arrived = true
  }

  assert {
    condition     = length(google_monitoring_alert_policy.burn) == 8
    error_message = "Four objectives, fast and slow."
  }

  assert {
    condition = alltrue([for name, policy in google_monitoring_alert_policy.burn : alltrue([for condition in policy.conditions :
    abs(condition.condition_threshold[0].threshold_value - (endswith(name, "_fast") ? 14.4 : 6)) < 0.0001])])
    error_message = "14.4 times over an hour, 6 times over six."
  }

  assert {
    condition = alltrue([for policy in google_monitoring_alert_policy.burn :
    policy.combiner == "AND" && length(policy.conditions) == 2 && alltrue([for condition in policy.conditions : startswith(condition.condition_threshold[0].filter, "select_slo_burn_rate(\"projects/")])])
    error_message = "Both windows must burn, each by Cloud Monitoring's own reckoning."
  }
}

run "goals_and_days_are_ones_own_and_burn_rates_follow_the_days" {
  command = apply

  variables {
    objectives     = { calls = 0.99 }
    objective_days = 7
  }

  assert {
    condition     = google_monitoring_slo.this["calls"].goal == 0.99 && google_monitoring_slo.this["accounts"].goal == 0.999
    error_message = "What is not said keeps its default."
  }

  assert {
    condition     = abs(google_monitoring_alert_policy.burn["calls_fast"].conditions[0].condition_threshold[0].threshold_value - 3.36) < 0.0001
    error_message = "2 % of a week in an hour is 3.36 times the rate."
  }
}

run "a_goal_is_below_everything" {
  command = plan

  variables {
    objectives = { accounts = 1 }
  }

  expect_failures = [var.objectives]
}

run "days_are_thirty_at_the_most" {
  command = plan

  variables {
    objective_days = 90
  }

  expect_failures = [var.objective_days]
}

run "a_trace_ratio_is_a_share" {
  command = plan

  variables {
    trace_ratio = 5
  }

  expect_failures = [var.trace_ratio]
}

run "metrics_come_no_faster_than_they_are_taken" {
  command = plan

  variables {
    metric_export_seconds = 1
  }

  expect_failures = [var.metric_export_seconds]
}
