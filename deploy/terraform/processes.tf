locals {
  processes = var.image == null ? 0 : 1

  common_environment = {
    GOOGLE_CLOUD_PROJECT = var.project
    SPANNER_INSTANCE     = google_spanner_instance.this.name
    SPANNER_DATABASE     = google_spanner_database.this.name
    FORWARD_TOPIC        = google_pubsub_topic.forward.name
  }

  subscriptions_environment = {
    FORWARD_SUBSCRIPTION     = google_pubsub_subscription.forward.name
    DEAD_LETTER_TOPIC        = google_pubsub_topic.dead_letter.name
    DEAD_LETTER_SUBSCRIPTION = google_pubsub_subscription.dead_letter.name
  }

  worker_environment = {
    STATSIG_ENVIRONMENT = var.statsig_environment
  }

  # Empty where telemetry is off.
  telemetry_environment = { for name, value in {
    OTEL_EXPORTER_OTLP_ENDPOINT = var.telemetry_endpoint
    OTEL_TRACES_SAMPLER_ARG     = tostring(var.trace_ratio)
    OTEL_METRIC_EXPORT_INTERVAL = tostring(var.metric_export_seconds * 1000)
  } : name => value if var.telemetry_endpoint != null }

  role_environment = {
    for role in ["ingress", "worker", "operator"] : role => var.use_database_roles ? { SPANNER_DATABASE_ROLE = role } : {}
  }
}

resource "google_cloud_run_v2_service" "ingress" {
  count = local.processes

  project             = var.project
  name                = "${var.name}-ingress"
  location            = var.region
  ingress             = "INGRESS_TRAFFIC_INTERNAL_ONLY"
  deletion_protection = true

  template {
    service_account = google_service_account.ingress.email
    # A call takes 16 s at the most: 10 s to arrive, 5 s to commit, 1 s to publish. SIGTERM leaves 10 s, of which the
    # process needs 7.
    timeout                          = "30s"
    max_instance_request_concurrency = 64

    scaling {
      min_instance_count = var.ingress_min_instances
      max_instance_count = var.ingress_max_instances
    }

    containers {
      image = var.image
      args  = ["ingress"]

      ports {
        container_port = 8080
      }

      resources {
        # One event loop, so one core. Memory: concurrency x MAX_REQUEST_BYTES for bodies that arrive, MAX_DECODED_BYTES,
        # COMMIT_QUEUE_BYTES, and 256 MiB for the process: 1.6 GiB.
        limits = {
          cpu    = "1"
          memory = "2Gi"
        }
        # Calls are answered at the commit: publishes, and commits of clients that hung up, run when no request does.
        cpu_idle          = false
        startup_cpu_boost = true
      }

      # The process itself gives a Spanner that does not answer 30 s.
      startup_probe {
        http_get {
          path = "/ready"
        }
        timeout_seconds   = 3
        period_seconds    = 3
        failure_threshold = 20
      }

      # Only whether the process runs: with Spanner away, `unavailable` is a better answer than no instance.
      liveness_probe {
        http_get {
          path = "/health"
        }
        timeout_seconds   = 3
        period_seconds    = 10
        failure_threshold = 3
      }

      dynamic "env" {
        for_each = merge(
          local.common_environment,
          local.telemetry_environment,
          local.role_environment["ingress"],
          var.ingress_settings,
        )

        content {
          name  = env.key
          value = env.value
        }
      }
    }
  }

  depends_on = [
    google_spanner_database_iam_member.rows,
    google_spanner_database_iam_member.as_role,
    google_pubsub_topic_iam_member.ingress_publishes,
    google_project_iam_member.exports,
  ]
}

resource "google_cloud_run_v2_service_iam_member" "invokers" {
  for_each = local.processes == 0 ? toset([]) : var.invokers

  project  = var.project
  location = var.region
  name     = google_cloud_run_v2_service.ingress[0].name
  role     = "roles/run.invoker"
  member   = each.value
}

# `nest-events log`.
resource "google_cloud_run_v2_service_iam_member" "operator_invokes" {
  count = local.processes

  project  = var.project
  location = var.region
  name     = google_cloud_run_v2_service.ingress[0].name
  role     = "roles/run.invoker"
  member   = google_service_account.operator.member
}

resource "google_cloud_run_v2_worker_pool" "worker" {
  count = local.processes

  project             = var.project
  name                = "${var.name}-worker"
  location            = var.region
  deletion_protection = true

  scaling {
    scaling_mode          = "MANUAL"
    manual_instance_count = var.worker_instances
  }

  template {
    service_account = google_service_account.worker.email

    containers {
      image = var.image
      args  = ["worker"]

      resources {
        # From four lanes on a process is bound by Python's lock, so one core. Memory: LANES x BATCH_EVENTS x 64 KiB x 4
        # is 256 MiB, confirmations remembered while Spanner is away 40 MB, the process 256 MiB.
        limits = {
          cpu    = "1"
          memory = "1Gi"
        }
      }

      dynamic "env" {
        for_each = merge(
          local.common_environment,
          local.subscriptions_environment,
          local.telemetry_environment,
          local.worker_environment,
          local.role_environment["worker"],
          var.worker_settings,
        )

        content {
          name  = env.key
          value = env.value
        }
      }

      env {
        name = "STATSIG_SERVER_SECRET"

        value_source {
          secret_key_ref {
            secret  = google_secret_manager_secret.statsig.secret_id
            version = var.statsig_secret_version
          }
        }
      }
    }
  }

  depends_on = [
    google_secret_manager_secret_iam_member.worker_reads_key,
    google_spanner_database_iam_member.rows,
    google_spanner_database_iam_member.as_role,
    google_pubsub_subscription_iam_member.worker_pulls,
    google_project_iam_member.exports,
  ]
}

# Whether every accepted event is accounted for, once a day: exit code 1 is a failed execution, which alerts.
resource "google_cloud_run_v2_job" "account" {
  count = local.processes

  project             = var.project
  name                = "${var.name}-account"
  location            = var.region
  deletion_protection = false

  template {
    template {
      service_account = google_service_account.operator.email
      max_retries     = 0
      timeout         = "600s"

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
