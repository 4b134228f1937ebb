# Alerts on metrics that ingress and worker export (shared/telemetry/metrics.py). They use PromQL: a filter is refused
# while its metric does not exist, and a metric exists from its first export on.

locals {
  # The service.namespace of exported metrics (shared/telemetry/exporting.py): selects this deployment alone.
  of_this_deployment = "namespace=\"${google_spanner_database.this.name}\""

  # The codes of refusals for which the caller has nothing to change (ingress/error_codes.py).
  refusals_of_ours = "unavailable|internal|unknown|deadline_exceeded|resource_exhausted"

  telemetry_alerts = {
    oldest_pending = {
      # From Spanner, so that it includes events without a message. An event usually arrives within a second; one whose
      # message was lost is published again after RECONCILE_AFTER_SECONDS, a minute. After 15 minutes the reconciler has had
      # more than ten rounds, and something holds the event up. The maximum of all workers: each measures all events.
      section  = "events-stay-pending"
      title    = "Events stay pending"
      meaning  = "An event was accepted more than 15 minutes ago and has not arrived. It is late, not lost."
      query    = "max({\"event_log.pending.oldest_age\", ${local.of_this_deployment}}) > 900"
      duration = "120s"
      severity = "ERROR"
    }
    arrive_late = {
      # The delay of events that arrive. While none arrives this is silent, and `Events stay pending` fires. One in twenty,
      # since a few suspects are tried alone for minutes, which this is not about.
      section  = "events-arrive-late"
      title    = "Events arrive late"
      meaning  = "One event in twenty arrives more than a minute after it was accepted, for ten minutes now."
      query    = "histogram_quantile(0.95, sum by (le) (rate({\"event_log.delivery.delay_bucket\", ${local.of_this_deployment}}[10m]))) > 60"
      duration = "600s"
      severity = "WARNING"
    }
    commits_fail = {
      # A commit carries up to COMMIT_ROWS events. Not counted as failures: row_exists (a caller's own retry),
      # storage_rejected (a bad row, which a search isolates), and a cancelled commit (its instance is ending).
      section  = "more-than-1-in-20-commits-fails"
      title    = "More than 1 in 20 commits fails"
      meaning  = "Spanner does not take what callers log, or not in time. Each such commit is up to 64 events answered unavailable."
      query    = "sum(rate({\"event_log.commit.duration_count\", ${local.of_this_deployment}, outcome!~\"ok|row_exists|storage_rejected|CancelledError\"}[5m])) / sum(rate({\"event_log.commit.duration_count\", ${local.of_this_deployment}}[5m])) > 0.05"
      duration = "300s"
      severity = "ERROR"
    }
    events_refused = {
      # A LogEvents is answered 200 even if every one of its events is refused, so no count of calls shows it.
      section  = "events-inside-logevents-are-refused"
      title    = "Events inside LogEvents are refused"
      meaning  = "More than 1 in 100 events of LogEvents is refused for a reason that is ours, while the call itself is answered ok."
      query    = "sum(rate({\"event_log.call.events\", ${local.of_this_deployment}, method=\"LogEvents\", code=~\"${local.refusals_of_ours}\"}[5m])) / sum(rate({\"event_log.call.events\", ${local.of_this_deployment}, method=\"LogEvents\"}[5m])) > 0.01"
      duration = "300s"
      severity = "ERROR"
    }
    publish_paused = {
      # An ingress without traffic stays paused, since only a publish probes. Hence only if publishes failed meanwhile.
      section  = "ingresses-do-not-publish"
      title    = "Ingresses do not publish"
      meaning  = "Pub/Sub has not taken a publish for a quarter of an hour. Events are kept and the reconciler publishes them, a minute late and more slowly."
      query    = "max({\"event_log.publish.paused\", ${local.of_this_deployment}}) > 0 and on() sum(increase({\"event_log.publish.duration_count\", ${local.of_this_deployment}, topic=\"forward\", outcome!=\"ok\"}[10m])) > 0"
      duration = "900s"
      severity = "WARNING"
    }
    telemetry_missing = {
      # Without this alert an exporter that died would hide an old event. PromQL looks back 5 minutes, so it fires 15 minutes
      # after the last point. absent(), unlike a metric-absence condition, also holds if there has never been a point.
      section  = "the-workers-metrics-are-missing"
      title    = "The workers' metrics are missing"
      meaning  = "No worker has exported a metric for 15 minutes. Deliveries may be well, but most alerts of ours cannot fire."
      query    = "absent({\"event_log.pending.oldest_age\", ${local.of_this_deployment}})"
      duration = "600s"
      severity = "WARNING"
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

    condition_prometheus_query_language {
      query                     = each.value.query
      duration                  = each.value.duration
      evaluation_interval       = "60s"
      disable_metric_validation = true
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
