resource "google_monitoring_dashboard" "this" {
  project        = var.project
  dashboard_json = templatefile("${path.module}/dashboard.json", { name = var.name })

  depends_on = [google_logging_metric.rpc, google_logging_metric.lines]
}
