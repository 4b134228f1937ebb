# Alerts that need no exported metric: on log lines and on Google's own metrics. Each says in a sentence what it means and
# links to its section of deploy/RUNBOOK.md, which has its title (tests/unit/deploy/test_alerts.py). alerts_of_ours.tf has
# the alerts on metrics that ingress and worker export, objectives.tf those on the objectives.

locals {
  ingress_logs = "(resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"${var.name}-ingress\")"
  worker_logs  = "(resource.type=\"cloud_run_worker_pool\" AND resource.labels.worker_pool_name=\"${var.name}-worker\")"

  # Log lines that call for a person. Not metrics: a line is there even if nothing is exported, or the exporter is broken.
  line_alerts = {
    circuit_opened = {
      section  = "circuit_opened"
      logs     = local.worker_logs
      label    = "reason"
      severity = "ERROR"
      meaning  = "Requests to Statsig fail and the worker sends only probes. Events wait; none is lost, and callers notice nothing."
    }
    statsig_refuses_us = {
      section  = "statsig_refuses_us"
      logs     = local.worker_logs
      label    = "reason"
      severity = "CRITICAL"
      meaning  = "Statsig refuses the key or the address. Nothing is delivered until somebody mends it."
    }
    settle_failed = {
      section  = "settle_failed"
      logs     = local.worker_logs
      label    = "process"
      severity = "ERROR"
      meaning  = "Statsig has events of which Spanner took no note within 30 s. Do not restart workers."
    }
    log_lines_dropped = {
      section  = "log_lines_dropped"
      logs     = "(${local.ingress_logs} OR ${local.worker_logs})"
      label    = "process"
      severity = "WARNING"
      meaning  = "A process had log lines to write and nobody took them. Events are not touched, but the log has a gap, and an alert made of a line may have missed its line."
    }
  }

  # Google's own metrics.
  metric_alerts = {
    oldest_unacked = {
      section   = "a-forward-message-waits-for-more-than-10-minutes"
      title     = "A forward message waits for more than 10 minutes"
      meaning   = "A message was published and no worker has acknowledged it: its event is late, not lost."
      filter    = "resource.type=\"pubsub_subscription\" AND resource.labels.subscription_id=\"${google_pubsub_subscription.forward.name}\" AND metric.type=\"pubsub.googleapis.com/subscription/oldest_unacked_message_age\""
      aligner   = "ALIGN_MAX"
      reducer   = "REDUCE_MAX"
      group_by  = []
      period    = "60s"
      duration  = "300s"
      threshold = 600
      severity  = "ERROR"
    }
    dead_letters = {
      # Dead letters that the worker collected from their subscription into Spanner, Pub/Sub's native ones too. This shows
      # that some came; event_log.dead_letters.open, on the dashboard, is how many wait for a person.
      section   = "there-are-dead-letters"
      title     = "There are dead letters"
      meaning   = "Events were given up that Statsig will not take as they are, and wait for a person. Nothing else is held up by them."
      filter    = "resource.type=\"pubsub_subscription\" AND resource.labels.subscription_id=\"${google_pubsub_subscription.dead_letter.name}\" AND metric.type=\"pubsub.googleapis.com/subscription/ack_message_count\""
      aligner   = "ALIGN_DELTA"
      reducer   = "REDUCE_SUM"
      group_by  = []
      period    = "300s"
      duration  = "0s"
      threshold = 0
      severity  = "WARNING"
    }
    uncollected = {
      # A worker collects them within seconds. One that it cannot store is redelivered again and again.
      section   = "dead-letters-are-not-collected"
      title     = "Dead letters are not collected"
      meaning   = "A dead letter lies on its topic for more than 10 minutes: operators do not see it yet, and Pub/Sub keeps it for 7 days."
      filter    = "resource.type=\"pubsub_subscription\" AND resource.labels.subscription_id=\"${google_pubsub_subscription.dead_letter.name}\" AND metric.type=\"pubsub.googleapis.com/subscription/oldest_unacked_message_age\""
      aligner   = "ALIGN_MAX"
      reducer   = "REDUCE_MAX"
      group_by  = []
      period    = "60s"
      duration  = "300s"
      threshold = 600
      severity  = "WARNING"
    }
    unaccounted = {
      section   = "an-accepted-event-is-not-accounted-for-or-the-account-failed"
      title     = "An accepted event is not accounted for, or the account failed"
      meaning   = "The promise is that nothing accepted is lost. The daily account found an exception, or could not look."
      filter    = "resource.type=\"cloud_run_job\" AND resource.labels.job_name=\"${var.name}-account\" AND metric.type=\"run.googleapis.com/job/completed_execution_count\" AND metric.labels.result=\"failed\""
      aligner   = "ALIGN_DELTA"
      reducer   = "REDUCE_SUM"
      group_by  = []
      period    = "300s"
      duration  = "0s"
      threshold = 0
      severity  = "CRITICAL"
    }
    spanner_cpu = {
      # Google's recommended maximum for high-priority work, such as that of calls and workers: 65 % in one region, 45 % in
      # each of several, which leaves room if one fails (cloud.google.com/spanner/docs/cpu-utilization).
      section   = "spanners-cpu-is-above-what-google-recommends"
      title     = "Spanner's CPU is above what Google recommends"
      meaning   = "Commits take longer, and soon calls are refused. Add processing units: a change without downtime."
      filter    = "resource.type=\"spanner_instance\" AND resource.labels.instance_id=\"${google_spanner_instance.this.name}\" AND metric.type=\"spanner.googleapis.com/instance/cpu/utilization_by_priority\" AND metric.labels.priority=\"high\""
      aligner   = "ALIGN_MEAN"
      reducer   = "REDUCE_SUM"
      group_by  = ["resource.label.location"]
      period    = "60s"
      duration  = "600s"
      threshold = startswith(var.spanner_config, "regional-") ? 0.65 : 0.45
      severity  = "WARNING"
    }
    spanner_cpu_day = {
      # From the same page: the 24 h average of all work, Spanner's own included. Above it compaction and backups fall behind.
      section   = "spanners-cpu-is-above-what-google-recommends"
      title     = "Spanner's CPU is above 90 % over a day"
      meaning   = "Spanner's own work falls behind, and then everything slows down. Add processing units."
      filter    = "resource.type=\"spanner_instance\" AND resource.labels.instance_id=\"${google_spanner_instance.this.name}\" AND metric.type=\"spanner.googleapis.com/instance/cpu/smoothed_utilization\""
      aligner   = "ALIGN_MEAN"
      reducer   = "REDUCE_SUM"
      group_by  = ["resource.label.location"]
      period    = "60s"
      duration  = "600s"
      threshold = 0.9
      severity  = "WARNING"
    }
  }

  # Shares of all calls, by Cloud Run's own count: it includes answers that Cloud Run gives itself, and needs no exporter. It
  # has one code for a LogEvents of up to 500 events; `Events inside LogEvents are refused` counts each event.
  calls = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"${var.name}-ingress\" AND metric.type=\"run.googleapis.com/request_count\""

  ratio_alerts = {
    calls_fail = {
      section  = "more-than-1-in-100-calls-fails"
      title    = "More than 1 in 100 calls fails"
      meaning  = "Calls are answered unavailable or internal. Callers try again with the same key; those that do not may lose their event."
      filter   = "metric.labels.response_code_class=\"5xx\" AND metric.labels.response_code!=\"504\""
      severity = "ERROR"
    }
    calls_late = {
      section  = "more-than-1-in-100-calls-misses-its-deadline"
      title    = "More than 1 in 100 calls misses its deadline"
      meaning  = "Calls are answered deadline_exceeded. Such a caller does not know whether its event was written; trying again with the same key tells."
      filter   = "metric.labels.response_code=\"504\""
      severity = "ERROR"
    }
    calls_refused = {
      section  = "more-than-1-in-100-calls-is-refused-for-load"
      title    = "More than 1 in 100 calls is refused for load"
      meaning  = "Calls are answered resource_exhausted: more arrives than instances or Spanner take. Nothing was written for them."
      filter   = "metric.labels.response_code=\"429\""
      severity = "ERROR"
    }
  }
}

resource "google_monitoring_alert_policy" "line" {
  for_each = local.line_alerts

  project               = var.project
  display_name          = "${var.name}: ${each.key}"
  combiner              = "OR"
  severity              = each.value.severity
  notification_channels = var.notification_channels

  conditions {
    display_name = each.key

    condition_matched_log {
      filter           = "${each.value.logs} AND jsonPayload.message=\"${each.key}\""
      label_extractors = { (each.value.label) = "EXTRACT(jsonPayload.${each.value.label})" }
    }
  }

  alert_strategy {
    auto_close = "3600s"

    notification_rate_limit {
      period = "900s"
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "${each.value.meaning}\n\n[${each.key} in the runbook](${var.runbook_url}#${each.value.section})"

    links {
      display_name = "Runbook"
      url          = "${var.runbook_url}#${each.value.section}"
    }
  }
}

resource "google_monitoring_alert_policy" "metric" {
  for_each = local.metric_alerts

  project               = var.project
  display_name          = "${var.name}: ${each.value.title}"
  combiner              = "OR"
  severity              = each.value.severity
  notification_channels = var.notification_channels

  conditions {
    display_name = each.value.title

    condition_threshold {
      filter          = each.value.filter
      comparison      = "COMPARISON_GT"
      threshold_value = each.value.threshold
      duration        = each.value.duration

      aggregations {
        alignment_period     = each.value.period
        per_series_aligner   = each.value.aligner
        cross_series_reducer = each.value.reducer
        group_by_fields      = each.value.group_by
      }
    }
  }

  # The count of a rare event has no data most of the time. Without this its incident would stay open for a week, and the
  # next dead letter or failed account would raise no alert. Half an hour is the minimum.
  alert_strategy {
    auto_close = "1800s"
  }

  documentation {
    mime_type = "text/markdown"
    content   = "${each.value.meaning}\n\n[${each.value.title}: the runbook](${var.runbook_url}#${each.value.section})"

    links {
      display_name = "Runbook"
      url          = "${var.runbook_url}#${each.value.section}"
    }
  }
}

resource "google_monitoring_alert_policy" "ratio" {
  for_each = local.ratio_alerts

  project               = var.project
  display_name          = "${var.name}: ${each.value.title}"
  combiner              = "OR"
  severity              = each.value.severity
  notification_channels = var.notification_channels

  conditions {
    display_name = each.value.title

    condition_threshold {
      filter             = "${local.calls} AND ${each.value.filter}"
      denominator_filter = local.calls
      comparison         = "COMPARISON_GT"
      threshold_value    = 0.01
      duration           = "300s"

      aggregations {
        alignment_period     = "300s"
        per_series_aligner   = "ALIGN_DELTA"
        cross_series_reducer = "REDUCE_SUM"
      }

      denominator_aggregations {
        alignment_period     = "300s"
        per_series_aligner   = "ALIGN_DELTA"
        cross_series_reducer = "REDUCE_SUM"
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "${each.value.meaning}\n\n[${each.value.title}: the runbook](${var.runbook_url}#${each.value.section})"

    links {
      display_name = "Runbook"
      url          = "${var.runbook_url}#${each.value.section}"
    }
  }
}
