resource "google_project_service" "used" {
  for_each = toset(concat(var.binary_authorization == null ? [] : ["binaryauthorization.googleapis.com"], [
    "artifactregistry.googleapis.com",
    # The Telemetry API stores traces in Cloud Trace: with that API off they are discarded without an error
    # (docs.cloud.google.com/stackdriver/docs/reference/telemetry/v1.traces).
    "cloudtrace.googleapis.com",
    "cloudscheduler.googleapis.com",
    "iam.googleapis.com",
    "logging.googleapis.com",
    "monitoring.googleapis.com",
    "pubsub.googleapis.com",
    "run.googleapis.com",
    "secretmanager.googleapis.com",
    "spanner.googleapis.com",
    "telemetry.googleapis.com",
  ]))

  project            = var.project
  service            = each.value
  disable_on_destroy = false
}

data "google_project" "this" {
  project_id = var.project
}

resource "google_artifact_registry_repository" "images" {
  project       = var.project
  location      = var.region
  repository_id = var.name
  format        = "DOCKER"

  docker_config {
    immutable_tags = true
  }

  depends_on = [google_project_service.used]
}
