# Of Google's own metrics and of those in shared/telemetry/metrics.py; a test holds it and those together. Counts of a
# histogram and labels with a dot are PromQL, which has a documented form for both; the rest is filters.
resource "google_monitoring_dashboard" "this" {
  project        = var.project
  dashboard_json = templatefile("${path.module}/dashboard.json", { name = var.name })
}
