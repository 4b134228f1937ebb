output "ingress_url" {
  description = "Where callers send LogEvent, and the audience of their ID tokens. Null before there is an image."
  value       = one(google_cloud_run_v2_service.ingress[*].uri)
}

output "image_repository" {
  description = "Where to push the image."
  value       = "${var.region}-docker.pkg.dev/${var.project}/${google_artifact_registry_repository.images.repository_id}"
}

output "statsig_secret" {
  description = "The secret whose versions are Statsig server keys."
  value       = google_secret_manager_secret.statsig.secret_id
}

output "operator_service_account" {
  description = "Whom operators act as with nest-events."
  value       = google_service_account.operator.email
}

output "export_service_account" {
  description = "Whom the export to BigQuery runs as."
  value       = google_service_account.export.email
}

# Without telemetry: metrics need a region, which a laptop does not have. A trace still continues through a replay.
output "operator_environment" {
  description = "The settings of nest-events."
  value       = merge(local.common_environment, local.subscriptions_environment, local.role_environment["operator"])
}

output "eraser_service_account" {
  description = "Whom operators act as with `nest-events erase`."
  value       = google_service_account.eraser.email
}

output "eraser_environment" {
  description = "The settings of `nest-events erase`."
  value       = merge(local.common_environment, local.subscriptions_environment, local.role_environment["eraser"])
}
