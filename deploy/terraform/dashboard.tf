# Shows Google's own metrics and those of shared/telemetry/metrics.py; a test checks it against the latter. Counts of a
# histogram and labels with a dot use PromQL, which has a documented form for both; the rest uses filters.
resource "google_monitoring_dashboard" "this" {
  project        = var.project
  dashboard_json = templatefile("${path.module}/dashboard.json", { name = var.name })
}
