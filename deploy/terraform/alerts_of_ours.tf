# Alerts of what ingress and worker export (shared/telemetry/metrics.py). By PromQL, since a filter is refused while its
# metric does not exist yet, and that begins with the first export.

locals {
  # service.namespace of what is exported (shared/telemetry/exporting.py): of this deployment alone.
  of_this_deployment = "namespace=\"${google_spanner_database.this.name}\""

  # What an event is refused with where it is not the caller who has to change something (ingress/error_codes.py).
  refusals_of_ours = "unavailable|internal|unknown|deadline_exceeded|resource_exhausted"

  telemetry_alerts = {
    oldest_pending = {
      # From Spanner, so that an event without a message is seen too. An event usually arrives within a second; one whose
      # message was lost is published again after RECONCILE_AFTER_SECONDS, a minute. After 15 the reconciler has had more
      # than ten rounds, and something holds it up. The highest of all workers: each asks about all events.
      section  = "events-stay-pending"
      title    = "Events stay pending"
      meaning  = "An event was accepted more than 15 minutes ago and has not arrived. It is late, not lost."
      query    = "max({\"event_log.pending.oldest_age\", ${local.of_this_deployment}}) > 900"
      duration = "120s"
      severity = "ERROR"
    }
    arrive_late = {
      # What arrives, and how late. While nothing arrives at all this is silent, and `Events stay pending` speaks. One in
      # twenty, since some suspects are tried alone for minutes and are not what this is for.
      section  = "events-arrive-late"
      title    = "Events arrive late"
      meaning  = "One event in twenty arrives more than a minute after it was accepted, for ten minutes now."
      query    = "histogram_quantile(0.95, sum by (le) (rate({\"event_log.delivery.delay_bucket\", ${local.of_this_deployment}}[10m]))) > 60"
      duration = "600s"
      severity = "WARNING"
    }
    commits_fail = {
      # A commit carries up to COMMIT_ROWS events. row_exists is a caller's own retry, storage_rejected a row's fault that
      # the search ends; a cancelled commit belongs to an instance that ends.
      section  = "more-than-1-in-20-commits-fails"
      title    = "More than 1 in 20 commits fails"
      meaning  = "Spanner does not take what callers log, or not in time. Each such commit is up to 64 events answered unavailable."
      query    = "sum(rate({\"event_log.commit.duration_count\", ${local.of_this_deployment}, outcome!~\"ok|row_exists|storage_rejected|CancelledError\"}[5m])) / sum(rate({\"event_log.commit.duration_count\", ${local.of_this_deployment}}[5m])) > 0.05"
      duration = "300s"
      severity = "ERROR"
    }
    events_refused = {
      # A LogEvents whose every event is refused is answered 200, which no count of calls sees.
      section  = "events-inside-logevents-are-refused"
      title    = "Events inside LogEvents are refused"
      meaning  = "More than 1 in 100 events of LogEvents is refused for a reason that is ours, while the call itself is answered ok."
      query    = "sum(rate({\"event_log.call.events\", ${local.of_this_deployment}, method=\"LogEvents\", code=~\"${local.refusals_of_ours}\"}[5m])) / sum(rate({\"event_log.call.events\", ${local.of_this_deployment}, method=\"LogEvents\"}[5m])) > 0.01"
      duration = "300s"
      severity = "ERROR"
    }
    publish_paused = {
      # An ingress on which no event arrives stays paused, since nothing probes: so only where publishes failed meanwhile.
      section  = "ingresses-do-not-publish"
      title    = "Ingresses do not publish"
      meaning  = "Pub/Sub has not taken a publish for a quarter of an hour. Events are kept and the reconciler publishes them, a minute late and more slowly."
      query    = "max({\"event_log.publish.paused\", ${local.of_this_deployment}}) > 0 and on() sum(increase({\"event_log.publish.duration_count\", ${local.of_this_deployment}, topic=\"forward\", outcome!=\"ok\"}[10m])) > 0"
      duration = "900s"
      severity = "WARNING"
    }
    telemetry_missing = {
      # Without it an exporter that died would hide an old event. A point is looked for in 5 minutes back: fires 15 minutes
      # after the last one. By absent(), which unlike a metric-absence condition holds where there has never been a point.
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
