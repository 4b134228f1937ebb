locals {
  processes = var.image == null ? 0 : 1

  common_environment = {
    GOOGLE_CLOUD_PROJECT = var.project
    SPANNER_INSTANCE     = google_spanner_instance.this.name
    SPANNER_DATABASE     = google_spanner_database.this.name
    FORWARD_TOPIC        = google_pubsub_topic.forward.name
    FORWARD_SHARDS       = tostring(var.forward_shards)
  }

  subscriptions_environment = {
    FORWARD_SUBSCRIPTION     = google_pubsub_subscription.forward.name
    DEAD_LETTER_TOPIC        = google_pubsub_topic.dead_letter.name
    DEAD_LETTER_SUBSCRIPTION = google_pubsub_subscription.dead_letter.name
  }

  # A caller's identity is that of its token. Cloud Run is the only way in, and has checked the token before the process
  # sees it; roles/run.invoker is granted to var.invokers and operators alone. The setting is true here because that holds
  # here, and its default is false.
  ingress_environment = {
    TRUST_CLOUD_RUN_IAM = "true"
  }

  worker_environment = {
    STATSIG_ENVIRONMENT = var.statsig_environment
  }

  # Empty if telemetry is off.
  telemetry_environment = { for name, value in {
    OTEL_EXPORTER_OTLP_ENDPOINT = var.telemetry_endpoint
    OTEL_TRACES_SAMPLER_ARG     = tostring(var.trace_ratio)
    OTEL_METRIC_EXPORT_INTERVAL = tostring(var.metric_export_seconds * 1000)
  } : name => value if var.telemetry_endpoint != null }

  role_environment = {
    for role in ["ingress", "worker", "operator", "eraser"] : role => var.use_database_roles ? { SPANNER_DATABASE_ROLE = role } : {}
  }
}

resource "google_cloud_run_v2_service" "ingress" {
  count = local.processes

  project             = var.project
  name                = "${var.name}-ingress"
  location            = var.region
  ingress             = "INGRESS_TRAFFIC_INTERNAL_ONLY"
  deletion_protection = true

  dynamic "binary_authorization" {
    for_each = var.binary_authorization == null ? [] : [var.binary_authorization]

    content {
      use_default = binary_authorization.value == "default" ? true : null
      policy      = binary_authorization.value == "default" ? null : binary_authorization.value
    }
  }

  template {
    service_account = google_service_account.ingress.email
    # A call takes about 15 s at most: 10 s to arrive, 5 s to commit. SIGTERM leaves 10 s, of which the process needs 7.
    timeout                          = "30s"
    max_instance_request_concurrency = 64

    scaling {
      min_instance_count = var.ingress_min_instances
      max_instance_count = var.ingress_max_instances
    }

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
      image = var.image
      args  = ["ingress"]

      ports {
        name           = "h2c" # HTTP/2 end to end: what gRPC's trailers need; probes come in HTTP/1.1
        container_port = 8080
      }

      resources {
        # One event loop, so one core. Memory: concurrency x MAX_REQUEST_BYTES for request bodies, MAX_DECODED_BYTES,
        # COMMIT_QUEUE_BYTES, and 256 MiB for the process: 1.6 GiB.
        limits = {
          cpu    = "1"
          memory = "2Gi"
        }
        # CPU outside of requests too. A call is answered at its commit, and its event is published after the answer; the
        # commit of a client that hung up goes on; metrics are exported. With CPU for requests alone all of that would
        # stop until the next call, and the reconciler would have to publish the events.
        cpu_idle          = false
        startup_cpu_boost = true
      }

      # Ready means that Spanner answers; Pub/Sub need not. The process itself waits 30 s for a Spanner that does not
      # answer. No path here ends in z: Cloud Run reserves some of those.
      startup_probe {
        http_get {
          path = "/ready"
        }
        timeout_seconds   = 3
        period_seconds    = 3
        failure_threshold = 20
      }

      # Checks only that the event loop runs: while Spanner is away, `unavailable` is a better answer than no instance. Two
      # minutes, since a busy process answers late, and a restart would end its 64 calls and leave their load to others.
      liveness_probe {
        http_get {
          path = "/health"
        }
        timeout_seconds   = 10
        period_seconds    = 20
        failure_threshold = 6
      }

      dynamic "env" {
        for_each = merge(
          local.common_environment,
          local.telemetry_environment,
          local.ingress_environment,
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

  dynamic "binary_authorization" {
    for_each = var.binary_authorization == null ? [] : [var.binary_authorization]

    content {
      use_default = binary_authorization.value == "default" ? true : null
      policy      = binary_authorization.value == "default" ? null : binary_authorization.value
    }
  }

  scaling {
    scaling_mode          = "MANUAL"
    manual_instance_count = var.worker_instances
  }

  template {
    service_account = google_service_account.worker.email

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
      image = var.image
      args  = ["worker"]

      resources {
        # With four lanes and more a process is limited by Python's lock, so one core. Memory: LANES x BATCH_EVENTS x 64 KiB
        # x 4 is 256 MiB, outcomes remembered while Spanner is away 55 MB, the process 256 MiB.
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
