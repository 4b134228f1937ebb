# Each alert is named as its section of deploy/RUNBOOK.md; a test holds both equal.

locals {
  worker_logs = "resource.type=\"cloud_run_worker_pool\" AND resource.labels.worker_pool_name=\"${var.name}-worker\""

  # A line of the worker that asks for a person. Of lines and not of metrics, since a line is there even where nothing is
  # exported, or the exporter is what is broken.
  line_alerts = {
    circuit_opened     = { section = "circuit_opened", severity = "ERROR" }
    statsig_refuses_us = { section = "statsig_refuses_us", severity = "CRITICAL" }
    settle_failed      = { section = "settle_failed", severity = "ERROR" }
  }

  # Google's own metrics, which need nothing of ours to work.
  metric_alerts = {
    oldest_unacked = {
      section   = "a-forward-message-waits-for-more-than-10-minutes"
      title     = "A forward message waits for more than 10 minutes"
      filter    = "resource.type=\"pubsub_subscription\" AND resource.labels.subscription_id=\"${google_pubsub_subscription.forward.name}\" AND metric.type=\"pubsub.googleapis.com/subscription/oldest_unacked_message_age\""
      aligner   = "ALIGN_MAX"
      reducer   = "REDUCE_MAX"
      period    = "60s"
      duration  = "300s"
      threshold = 600
      severity  = "ERROR"
    }
    dead_letters = {
      # So that Pub/Sub's native dead letters are counted too.
      section   = "there-are-dead-letters"
      title     = "There are dead letters"
      filter    = "resource.type=\"pubsub_subscription\" AND resource.labels.subscription_id=\"${google_pubsub_subscription.dead_letter.name}\" AND metric.type=\"pubsub.googleapis.com/subscription/num_undelivered_messages\""
      aligner   = "ALIGN_MAX"
      reducer   = "REDUCE_SUM"
      period    = "60s"
      duration  = "0s"
      threshold = 0
      severity  = "WARNING"
    }
    unaccounted = {
      section   = "an-accepted-event-is-not-accounted-for-or-the-account-failed"
      title     = "An accepted event is not accounted for, or the account failed"
      filter    = "resource.type=\"cloud_run_job\" AND resource.labels.job_name=\"${var.name}-account\" AND metric.type=\"run.googleapis.com/job/completed_execution_count\" AND metric.labels.result=\"failed\""
      aligner   = "ALIGN_DELTA"
      reducer   = "REDUCE_SUM"
      period    = "300s"
      duration  = "0s"
      threshold = 0
      severity  = "CRITICAL"
    }
  }

  # What the workers export (shared/telemetry/metrics.py), where they do.
  telemetry_alerts = {
    oldest_pending = {
      # From Spanner, so that an event without a message is seen too. An event usually arrives within a second; one whose
      # message was lost is published again after RECONCILE_AFTER_SECONDS, a minute. After 15 the reconciler has had more
      # than ten rounds, and something holds it up. The highest of all workers: each asks about all events.
      section  = "events-stay-pending"
      title    = "Events stay pending"
      query    = "max({\"event_log.pending.oldest_age\", namespace=\"${google_spanner_database.this.name}\"}) > 900"
      duration = "120s"
      severity = "ERROR"
    }
    telemetry_missing = {
      # Without it an exporter that died would hide an old event. A point is looked for in 5 minutes back: fires 15 minutes
      # after the last one. By absent(), which unlike a metric-absence condition holds where there has never been a point.
      section  = "the-workers-metrics-are-missing"
      title    = "The workers' metrics are missing"
      query    = "absent({\"event_log.pending.oldest_age\", namespace=\"${google_spanner_database.this.name}\"})"
      duration = "600s"
      severity = "WARNING"
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

resource "google_monitoring_alert_policy" "telemetry" {
  for_each = { for key, alert in local.telemetry_alerts : key => alert if local.exports_to_google && local.processes == 1 }

  project               = var.project
  display_name          = "${var.name}: ${each.value.title}"
  combiner              = "OR"
  severity              = each.value.severity
  notification_channels = var.notification_channels

  conditions {
    display_name = each.value.title

    # PromQL, since a filter is refused while its metric does not exist yet, and that begins with the first export.
    condition_prometheus_query_language {
      query                     = each.value.query
      duration                  = each.value.duration
      evaluation_interval       = "60s"
      disable_metric_validation = true
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
  display_name          = "${var.name}: More than 1 in 100 calls fails"
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

  documentation {
    mime_type = "text/markdown"
    content   = "[More than 1 in 100 calls fails: the runbook](${var.runbook_url}#more-than-1-in-100-calls-fails)"

    links {
      display_name = "Runbook"
      url          = "${var.runbook_url}#more-than-1-in-100-calls-fails"
    }
  }
}
