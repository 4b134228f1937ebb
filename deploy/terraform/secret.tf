# The key itself is added by hand (deploy/README.md), so that Terraform's state never has it.
resource "google_secret_manager_secret" "statsig" {
  project   = var.project
  secret_id = "${var.name}-statsig-server-secret"

  replication {
    user_managed {
      replicas {
        location = var.region
      }
    }
  }

  depends_on = [google_project_service.used]
}
