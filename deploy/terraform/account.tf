# Once a day: checks that every accepted event is accounted for. Exit code 1 is a failed execution, which alerts.
resource "google_cloud_run_v2_job" "account" {
  count = local.processes

  project             = var.project
  name                = "${var.name}-account"
  location            = var.region
  deletion_protection = false

  dynamic "binary_authorization" {
    for_each = var.binary_authorization == null ? [] : [var.binary_authorization]

    content {
      use_default = binary_authorization.value == "default" ? true : null
      policy      = binary_authorization.value == "default" ? null : binary_authorization.value
    }
  }

  template {
    template {
      service_account = google_service_account.operator.email
      max_retries     = 0
      # It reads two rows for each event of 48 hours, at low priority: four hours if the nodes carry the most that
      # ../SIZING.md plans for them. It must end before the next one begins.
      timeout = "21600s"

      dynamic "vpc_access" {
        for_each = var.vpc_access == null ? [] : [var.vpc_access]

        content {
          egress = vpc_access.value.egress

          network_interfaces {
            network    = vpc_access.value.network
            subnetwork = vpc_access.value.subnetwork
            tags       = vpc_access.value.tags
          }
        }
      }

      containers {
        image   = var.image
        command = ["/opt/app/bin/nest-events"]
        args    = ["account", "--since", "48h", "--json"]

        dynamic "env" {
          for_each = merge(
            local.common_environment,
            local.subscriptions_environment,
            local.telemetry_environment,
            local.role_environment["operator"],
          )

          content {
            name  = env.key
            value = env.value
          }
        }
      }
    }
  }

  depends_on = [
    google_spanner_database_iam_member.rows,
    google_spanner_database_iam_member.as_role,
    google_project_iam_member.exports,
  ]
}

resource "google_cloud_run_v2_job_iam_member" "operator_runs_account" {
  count = local.processes

  project  = var.project
  location = var.region
  name     = google_cloud_run_v2_job.account[0].name
  role     = "roles/run.invoker"
  member   = google_service_account.operator.member
}

resource "google_cloud_scheduler_job" "account" {
  count = local.processes

  project   = var.project
  region    = var.region
  name      = "${var.name}-account"
  schedule  = var.account_schedule
  time_zone = "Etc/UTC"

  http_target {
    http_method = "POST"
    uri         = "https://run.googleapis.com/v2/${google_cloud_run_v2_job.account[0].id}:run"

    oauth_token {
      service_account_email = google_service_account.operator.email
    }
  }
}
