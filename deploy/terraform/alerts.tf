locals {
  # A line of the worker that asks for a person. The section is the anchor of deploy/RUNBOOK.md.
  line_alerts = {
    circuit_opened     = { section = "circuit_opened", severity = "ERROR" }
    statsig_refuses_us = { section = "statsig_refuses_us", severity = "CRITICAL" }
    settle_failed      = { section = "settle_failed", severity = "ERROR" }
  }

  metric_alerts = {
    oldest_pending = {
      # The reconciler publishes what has been pending for RECONCILE_AFTER_SECONDS. When it must do so for a quarter of an
      # hour without a pause, something has been pending for as long.
      section   = "the-oldest-pending-event-is-too-old"
      title     = "events stay pending"
      filter    = "resource.type=\"cloud_run_worker_pool\" AND metric.type=\"logging.googleapis.com/user/${google_logging_metric.lines["reconciled"].name}\""
      aligner   = "ALIGN_DELTA"
      reducer   = "REDUCE_SUM"
      period    = "300s"
      duration  = "900s"
      threshold = 0
      severity  = "ERROR"
    }
    oldest_unacked = {
      section   = "the-oldest-pending-event-is-too-old"
      title     = "a forward message waits for more than 10 minutes"
      filter    = "resource.type=\"pubsub_subscription\" AND resource.labels.subscription_id=\"${google_pubsub_subscription.forward.name}\" AND metric.type=\"pubsub.googleapis.com/subscription/oldest_unacked_message_age\""
      aligner   = "ALIGN_MAX"
      reducer   = "REDUCE_MAX"
      period    = "60s"
      duration  = "300s"
      threshold = 600
      severity  = "ERROR"
    }
    dead_letters = {
      # Google's own count, so that Pub/Sub's native dead letters are in it too.
      section   = "message_dead_lettered-or-dead-letters--0"
      title     = "there are dead letters"
      filter    = "resource.type=\"pubsub_subscription\" AND resource.labels.subscription_id=\"${google_pubsub_subscription.dead_letter.name}\" AND metric.type=\"pubsub.googleapis.com/subscription/num_undelivered_messages\""
      aligner   = "ALIGN_MAX"
      reducer   = "REDUCE_SUM"
      period    = "60s"
      duration  = "0s"
      threshold = 0
      severity  = "WARNING"
    }
    unaccounted = {
      section   = "unaccounted"
      title     = "an accepted event is not accounted for, or the account failed"
      filter    = "resource.type=\"cloud_run_job\" AND resource.labels.job_name=\"${var.name}-account\" AND metric.type=\"run.googleapis.com/job/completed_execution_count\" AND metric.labels.result=\"failed\""
      aligner   = "ALIGN_DELTA"
      reducer   = "REDUCE_SUM"
      period    = "300s"
      duration  = "0s"
      threshold = 0
      severity  = "CRITICAL"
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
      filter           = "${local.worker_logs} AND jsonPayload.message=\"${each.key}\""
      label_extractors = { reason = "EXTRACT(jsonPayload.reason)" }
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
    content   = "[${each.key} in the runbook](${var.runbook_url}#${each.value.section})"

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
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "[${each.value.title}: the runbook](${var.runbook_url}#${each.value.section})"

    links {
      display_name = "Runbook"
      url          = "${var.runbook_url}#${each.value.section}"
    }
  }
}

resource "google_monitoring_alert_policy" "error_ratio" {
  project               = var.project
  display_name          = "${var.name}: more than 1 in 100 calls fails"
  combiner              = "OR"
  severity              = "ERROR"
  notification_channels = var.notification_channels

  conditions {
    display_name = "5xx of all calls: unavailable, deadline_exceeded, internal"

    condition_threshold {
      filter             = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"${var.name}-ingress\" AND metric.type=\"run.googleapis.com/request_count\" AND metric.labels.response_code_class=\"5xx\""
      denominator_filter = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"${var.name}-ingress\" AND metric.type=\"run.googleapis.com/request_count\""
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

  # No section of its own: the three questions at the top tell Spanner's trouble from ours.
  documentation {
    mime_type = "text/markdown"
    content   = "[The runbook](${var.runbook_url}#runbook). A call's `request_id` finds its log line."

    links {
      display_name = "Runbook"
      url          = "${var.runbook_url}#runbook"
    }
  }
}
