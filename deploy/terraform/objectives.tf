# What callers are promised, as objectives (SLOs) with an error budget, and alerts on how fast that budget burns. An alert
# of alerts.tf shows that something is wrong now; one of these that it has lasted long enough to matter.

locals {
  # Up to this a caller notices nothing: some ten times the usual duration of a commit, a tenth of the longest.
  commit_seconds = 0.5

  # The promise for delivery. An event whose message is lost misses it, since the reconciler waits that long.
  delivery_seconds = 60

  exported = "resource.type=\"prometheus_target\" AND resource.labels.namespace=\"${google_spanner_database.this.name}\""

  # Two use Google's own metrics. The others use ours, and an objective on a metric that does not exist is refused with 400
  # (an alert by PromQL is not): hence var.metrics_have_arrived.
  objectives = {
    calls = {
      display = "Calls are answered"
      goal    = var.objectives.calls
      section = "the-budget-of-calls-burns"
      ours    = false
      burns   = true
      # By Cloud Run's count, which includes calls that no process of ours saw. A 5xx is unavailable, internal, unknown or
      # deadline_exceeded, or Cloud Run's own answer: our failure. 501 is a method that does not exist. A 4xx is the caller's,
      # 429 included: nothing was written and the caller is asked to wait, or the body was too large.
      total = local.calls
      bad   = "${local.calls} AND metric.labels.response_code_class=\"5xx\" AND metric.labels.response_code!=\"501\""
      range = null
    }
    events = {
      display = "Events are accepted"
      goal    = var.objectives.events
      section = "the-budget-of-events-burns"
      ours    = true
      burns   = true
      # Counts events, also those inside LogEvents, whose refusals are inside an answer with 200.
      total = "${local.exported} AND metric.type=\"prometheus.googleapis.com/event_log.call.events/counter\""
      bad   = "${local.exported} AND metric.type=\"prometheus.googleapis.com/event_log.call.events/counter\" AND metric.labels.code=one_of(\"unavailable\",\"internal\",\"unknown\",\"deadline_exceeded\")"
      range = null
    }
    commits = {
      display = "Commits take no more than ${local.commit_seconds} s"
      goal    = var.objectives.commits
      section = "the-budget-of-commits-burns"
      ours    = true
      burns   = true
      # Commits that succeeded, and those that waited for Spanner in vain. One that fails at once says nothing of latency.
      total = "${local.exported} AND metric.type=\"prometheus.googleapis.com/event_log.commit.duration/histogram\" AND metric.labels.outcome=one_of(\"ok\",\"storage_unavailable\")"
      bad   = null
      range = local.commit_seconds
    }
    deliveries = {
      display = "Events are delivered within ${local.delivery_seconds} s"
      goal    = var.objectives.deliveries
      section = "the-budget-of-deliveries-burns"
      ours    = true
      burns   = true
      # From the commit of the event; counted when it arrives. While no event arrives the budget does not change, and `Events
      # stay pending` and `circuit_opened` fire; afterwards every late event counts.
      total = "${local.exported} AND metric.type=\"prometheus.googleapis.com/event_log.delivery.delay/histogram\""
      bad   = null
      range = local.delivery_seconds
    }
    accounts = {
      display = "Nothing accepted is unaccounted for"
      goal    = var.objectives.accounts
      section = "an-accepted-event-is-not-accounted-for-or-the-account-failed"
      ours    = false
      # One account a day: a rate from 30 points a month means nothing, and each failure raises its own alert (alerts.tf).
      burns = false
      total = "resource.type=\"cloud_run_job\" AND resource.labels.job_name=\"${var.name}-account\" AND metric.type=\"run.googleapis.com/job/completed_execution_count\""
      bad   = "resource.type=\"cloud_run_job\" AND resource.labels.job_name=\"${var.name}-account\" AND metric.type=\"run.googleapis.com/job/completed_execution_count\" AND metric.labels.result=\"failed\""
      range = null
    }
  }

  objectives_made = {
    for key, objective in local.objectives : key => objective
    if local.processes == 1 && (!objective.ours || (local.exports_to_google && var.metrics_have_arrived))
  }

  # From the SRE workbook (sre.google/workbook/alerting-on-slos): alert when an hour has used 2 % of the budget, and when six
  # hours have used 5 %. Both only while the last twelfth of that time still burns as fast, so that an alert ends with its
  # cause. Over 30 days these are burn rates of 14.4 and 6.
  burn_rates = {
    fast = { share = 0.02, hours = 1, long = "60m", short = "5m", severity = "CRITICAL", words = "fast" }
    slow = { share = 0.05, hours = 6, long = "360m", short = "30m", severity = "ERROR", words = "steadily" }
  }

  burn_alerts = { for alert in flatten([
    for key, objective in local.objectives_made : [
      for speed, rate in local.burn_rates : {
        name      = "${key}_${speed}"
        objective = key
        title     = "${objective.display}: the budget burns ${rate.words}"
        meaning   = "${objective.display}: in ${rate.hours} h ${rate.share * 100} % of what may miss this in ${var.objective_days} days has been used up, and it goes on."
        section   = objective.section
        threshold = rate.share * var.objective_days * 24 / rate.hours
        long      = rate.long
        short     = rate.short
        severity  = rate.severity
      }
    ] if objective.burns
  ]) : alert.name => alert }
}

resource "google_monitoring_custom_service" "this" {
  count = local.processes

  project      = var.project
  service_id   = var.name
  display_name = "Event Logging: ${var.name}"
}

resource "google_monitoring_slo" "this" {
  for_each = local.objectives_made

  project             = var.project
  service             = google_monitoring_custom_service.this[0].service_id
  slo_id              = each.key
  display_name        = each.value.display
  goal                = each.value.goal
  rolling_period_days = var.objective_days

  request_based_sli {
    dynamic "good_total_ratio" {
      for_each = each.value.range == null ? [each.value] : []

      content {
        total_service_filter = good_total_ratio.value.total
        bad_service_filter   = good_total_ratio.value.bad
      }
    }

    dynamic "distribution_cut" {
      for_each = each.value.range == null ? [] : [each.value]

      content {
        distribution_filter = distribution_cut.value.total

        range {
          max = distribution_cut.value.range
        }
      }
    }
  }
}

resource "google_monitoring_alert_policy" "burn" {
  for_each = local.burn_alerts

  project               = var.project
  display_name          = "${var.name}: ${each.value.title}"
  combiner              = "AND"
  severity              = each.value.severity
  notification_channels = var.notification_channels

  conditions {
    display_name = "over ${each.value.long}"

    condition_threshold {
      filter          = "select_slo_burn_rate(\"${google_monitoring_slo.this[each.value.objective].name}\", \"${each.value.long}\")"
      comparison      = "COMPARISON_GT"
      threshold_value = each.value.threshold
      duration        = "0s"
    }
  }

  conditions {
    display_name = "and still over the last ${each.value.short}"

    condition_threshold {
      filter          = "select_slo_burn_rate(\"${google_monitoring_slo.this[each.value.objective].name}\", \"${each.value.short}\")"
      comparison      = "COMPARISON_GT"
      threshold_value = each.value.threshold
      duration        = "0s"
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
