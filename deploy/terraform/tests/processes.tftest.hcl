# The processes and their settings. The provider is mocked: nothing is created, and no credentials are needed.

mock_provider "google" {
  source = "./tests/mocks"
}

variables {
  project             = "my-project"
  region              = "europe-west1"
  spanner_config      = "regional-europe-west1"
  statsig_environment = "production"
  invokers            = ["serviceAccount:shop@my-project.iam.gserviceaccount.com"]
  runbook_url         = "https://git.example.com/RUNBOOK.md"
  image               = "europe-west1-docker.pkg.dev/my-project/event-log/event-logging@sha256:0000000000000000000000000000000000000000000000000000000000000000"
}

run "the_first_apply_makes_everything_but_the_processes" {
  command = apply

  variables {
    image = null
  }

  assert {
    condition     = length(google_cloud_run_v2_service.ingress) + length(google_cloud_run_v2_worker_pool.worker) + length(google_cloud_run_v2_job.account) == 0
    error_message = "There is no image to run."
  }

  assert {
    condition     = length(google_cloud_run_v2_service_iam_member.invokers) == 0
    error_message = "There is no service to call."
  }

  assert {
    condition     = output.ingress_url == null && output.image_repository == "europe-west1-docker.pkg.dev/my-project/event-log"
    error_message = "The image's repository is there before the image, the service's address is not."
  }

  assert {
    condition     = google_spanner_database.this.name == "event-log" && length(google_spanner_database.this.ddl) > 10
    error_message = "The database and its schema are there before the processes."
  }
}

run "the_second_apply_makes_the_processes_of_that_image" {
  command = apply

  assert {
    condition = alltrue([for image in [
      google_cloud_run_v2_service.ingress[0].template[0].containers[0].image,
      google_cloud_run_v2_worker_pool.worker[0].template[0].containers[0].image,
      google_cloud_run_v2_job.account[0].template[0].template[0].containers[0].image,
    ] : image == var.image])
    error_message = "All three run the image that was given."
  }

  assert {
    condition     = output.ingress_url == google_cloud_run_v2_service.ingress[0].uri
    error_message = "The output is the service's address."
  }
}

run "the_ingress_has_cpu_outside_of_requests" {
  command = plan

  assert {
    condition     = google_cloud_run_v2_service.ingress[0].template[0].containers[0].resources[0].cpu_idle == false
    error_message = "It publishes behind its answers."
  }
}

run "probes_ask_for_spanner_at_the_start_and_for_the_process_alone_afterwards" {
  command = plan

  assert {
    condition     = google_cloud_run_v2_service.ingress[0].template[0].containers[0].startup_probe[0].http_get[0].path == "/ready"
    error_message = "Ready means that Spanner answers."
  }

  assert {
    condition     = google_cloud_run_v2_service.ingress[0].template[0].containers[0].liveness_probe[0].http_get[0].path == "/health"
    error_message = "Alive means that the process answers."
  }

  assert {
    condition = alltrue([for probe in google_cloud_run_v2_service.ingress[0].template[0].containers[0].liveness_probe :
    probe.period_seconds * probe.failure_threshold >= 60 && probe.timeout_seconds <= probe.period_seconds])
    error_message = "A process that is busy for a minute is not restarted, and a probe ends before the next."
  }
}

run "each_process_is_told_its_database_role_and_who_vouches_for_callers" {
  command = plan

  assert {
    condition = {
      ingress  = one([for env in google_cloud_run_v2_service.ingress[0].template[0].containers[0].env : env.value if env.name == "SPANNER_DATABASE_ROLE"])
      worker   = one([for env in google_cloud_run_v2_worker_pool.worker[0].template[0].containers[0].env : env.value if env.name == "SPANNER_DATABASE_ROLE"])
      operator = one([for env in google_cloud_run_v2_job.account[0].template[0].template[0].containers[0].env : env.value if env.name == "SPANNER_DATABASE_ROLE"])
    } == { ingress = "ingress", worker = "worker", operator = "operator" }
    error_message = "Database roles are on by default."
  }

  assert {
    condition     = one([for env in google_cloud_run_v2_service.ingress[0].template[0].containers[0].env : env.value if env.name == "TRUST_CLOUD_RUN_IAM"]) == "true"
    error_message = "Cloud Run IAM stands before the ingress, and it is told so."
  }

  assert {
    condition     = output.operator_environment.SPANNER_DATABASE_ROLE == "operator"
    error_message = "Operators act in their role too."
  }

  assert {
    condition     = output.eraser_environment.SPANNER_DATABASE_ROLE == "eraser"
    error_message = "And in that of the eraser, who alone may delete, for an erasure."
  }
}

run "other_settings_reach_their_process" {
  command = plan

  variables {
    ingress_settings      = { COMMIT_CONCURRENCY = "8" }
    worker_settings       = { LANES = "4" }
    statsig_environment   = "staging"
    ingress_min_instances = 2
    ingress_max_instances = 5
    worker_instances      = 3
  }

  assert {
    condition     = contains(google_cloud_run_v2_service.ingress[0].template[0].containers[0].env[*].value, "8")
    error_message = "ingress_settings are the ingress's."
  }

  assert {
    condition     = length(setintersection(google_cloud_run_v2_worker_pool.worker[0].template[0].containers[0].env[*].value, ["4", "staging"])) == 2
    error_message = "worker_settings and the Statsig tier are the worker's."
  }

  assert {
    condition = [
      google_cloud_run_v2_service.ingress[0].template[0].scaling[0].min_instance_count,
      google_cloud_run_v2_service.ingress[0].template[0].scaling[0].max_instance_count,
      google_cloud_run_v2_worker_pool.worker[0].scaling[0].manual_instance_count,
    ] == [2, 5, 3]
    error_message = "Instances are as many as was asked for."
  }
}

run "all_processes_and_operators_are_told_of_the_same_shards" {
  command = plan

  variables {
    forward_shards = 64
  }

  assert {
    condition = [
      one([for env in google_cloud_run_v2_service.ingress[0].template[0].containers[0].env : env.value if env.name == "FORWARD_SHARDS"]),
      one([for env in google_cloud_run_v2_worker_pool.worker[0].template[0].containers[0].env : env.value if env.name == "FORWARD_SHARDS"]),
      one([for env in google_cloud_run_v2_job.account[0].template[0].template[0].containers[0].env : env.value if env.name == "FORWARD_SHARDS"]),
      output.operator_environment.FORWARD_SHARDS,
    ] == ["64", "64", "64", "64"]
    error_message = "What one writes into a shard another one has to look for there."
  }
}

run "there_are_shards_and_a_whole_number_of_them" {
  command = plan

  variables {
    forward_shards = 0
  }

  expect_failures = [var.forward_shards]
}

run "spanner_is_as_large_and_kept_as_long_as_was_asked_for" {
  command = plan

  variables {
    spanner_edition          = "ENTERPRISE"
    spanner_processing_units = 300
    backup_schedule          = "30 1 * * *"
    backup_retention_days    = 7
    account_schedule         = "0 5 * * *"
    statsig_secret_version   = "2"
  }

  assert {
    condition     = google_spanner_instance.this.processing_units == 300 && google_spanner_instance.this.edition == "ENTERPRISE"
    error_message = "The instance is as was asked for."
  }

  assert {
    condition     = google_spanner_backup_schedule.daily.retention_duration == "604800s" && google_spanner_backup_schedule.daily.spec[0].cron_spec[0].text == "30 1 * * *"
    error_message = "Seven days are 604800 seconds."
  }

  assert {
    condition     = google_spanner_database.this.version_retention_period == "1h" && google_spanner_database.this.deletion_protection
    error_message = "Scans of the pending index pass over no more than an hour of what was deleted from it."
  }

  assert {
    condition     = google_cloud_scheduler_job.account[0].schedule == "0 5 * * *"
    error_message = "The account runs when it was asked to."
  }

  assert {
    condition     = one([for env in google_cloud_run_v2_worker_pool.worker[0].template[0].containers[0].env : env.value_source[0].secret_key_ref[0].version if env.name == "STATSIG_SERVER_SECRET"]) == "2"
    error_message = "The worker reads that version of the key."
  }
}
