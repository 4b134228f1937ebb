# Access: who may do what, and the two options that restrict it further.

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

run "each_identity_is_bound_to_its_database_role_by_default" {
  command = plan

  assert {
    condition     = keys(google_spanner_database_iam_member.as_role) == ["eraser", "export", "ingress", "operator", "worker"]
    error_message = "Five identities, five roles."
  }

  assert {
    condition = alltrue([for role, grant in google_spanner_database_iam_member.as_role :
    grant.role == "roles/spanner.databaseRoleUser" && endswith(grant.condition[0].expression, "endsWith('/databaseRoles/${role}')")])
    error_message = "Each may act in its own role alone."
  }

  assert {
    condition     = length(google_spanner_database_iam_member.rows) == 0 && length(google_project_iam_custom_role.database_writer) == 0
    error_message = "Nobody may read or write by IAM alone, past the roles."
  }
}

run "without_database_roles_iam_decides_and_nobody_names_a_role" {
  command = apply

  variables {
    use_database_roles = false
  }

  assert {
    condition     = length(google_spanner_database_iam_member.as_role) + length(google_spanner_database_iam_member.fine_grained) == 0
    error_message = "No role is bound."
  }

  assert {
    condition     = length(google_spanner_database_iam_member.rows) == 7
    error_message = "Ingress, worker, operator (two), eraser (two) and export have their custom roles."
  }

  assert {
    condition     = !contains(google_cloud_run_v2_service.ingress[0].template[0].containers[0].env[*].name, "SPANNER_DATABASE_ROLE")
    error_message = "A role that is named and not bound refuses every session."
  }

  assert {
    condition     = !contains(keys(merge(output.operator_environment, output.eraser_environment)), "SPANNER_DATABASE_ROLE")
    error_message = "As for operators."
  }
}

run "only_those_who_are_named_may_call_or_act_as_operators" {
  command = plan

  variables {
    operators = ["group:oncall@example.com"]
    erasers   = ["user:privacy@example.com"]
  }

  assert {
    condition     = keys(google_cloud_run_v2_service_iam_member.invokers) == ["serviceAccount:shop@my-project.iam.gserviceaccount.com"]
    error_message = "Callers are those of var.invokers."
  }

  assert {
    condition     = keys(google_service_account_iam_member.people_act_as_operator) == ["group:oncall@example.com"]
    error_message = "Operators are those of var.operators."
  }

  assert {
    condition     = keys(google_service_account_iam_member.people_act_as_eraser) == ["user:privacy@example.com"]
    error_message = "Operators may not delete unless they are named for it too."
  }

  assert {
    condition     = google_cloud_run_v2_service.ingress[0].ingress == "INGRESS_TRAFFIC_INTERNAL_ONLY"
    error_message = "Nothing outside of the project's network reaches the ingress, which trusts Cloud Run IAM."
  }
}

run "everybody_may_not_call" {
  command = plan

  variables {
    invokers = ["allUsers"]
  }

  expect_failures = [var.invokers]
}

run "there_is_neither_a_network_nor_an_attestation_by_default" {
  command = plan

  assert {
    condition     = length(google_cloud_run_v2_service.ingress[0].template[0].vpc_access) + length(google_cloud_run_v2_worker_pool.worker[0].template[0].vpc_access) == 0
    error_message = "Direct VPC egress is an option."
  }

  assert {
    condition     = length(google_cloud_run_v2_service.ingress[0].binary_authorization) + length(google_cloud_run_v2_worker_pool.worker[0].binary_authorization) == 0
    error_message = "Binary Authorization is an option."
  }

  assert {
    condition     = !contains(keys(google_project_service.used), "binaryauthorization.googleapis.com")
    error_message = "What is not used is not turned on."
  }
}

run "all_three_go_out_through_the_network_that_is_named" {
  command = plan

  variables {
    vpc_access = { subnetwork = "event-log", tags = ["event-log"], egress = "ALL_TRAFFIC" }
  }

  assert {
    condition = alltrue([for access in [
      google_cloud_run_v2_service.ingress[0].template[0].vpc_access[0],
      google_cloud_run_v2_worker_pool.worker[0].template[0].vpc_access[0],
      google_cloud_run_v2_job.account[0].template[0].template[0].vpc_access[0],
    ] : access.egress == "ALL_TRAFFIC" && access.network_interfaces[0].subnetwork == "event-log" && access.network_interfaces[0].tags == tolist(["event-log"])])
    error_message = "Network, tags and egress are those that were given."
  }
}

run "a_network_takes_private_traffic_alone_unless_told_otherwise" {
  command = plan

  variables {
    vpc_access = { subnetwork = "event-log" }
  }

  assert {
    condition     = google_cloud_run_v2_worker_pool.worker[0].template[0].vpc_access[0].egress == "PRIVATE_RANGES_ONLY"
    error_message = "With all traffic, a network without Cloud NAT would cut the worker off from Statsig."
  }
}

run "egress_is_one_of_two_words" {
  command = plan

  variables {
    vpc_access = { subnetwork = "event-log", egress = "all" }
  }

  expect_failures = [var.vpc_access]
}

run "all_three_start_only_what_the_projects_policy_allows" {
  command = plan

  variables {
    binary_authorization = "default"
  }

  assert {
    condition = alltrue([for authorization in [
      google_cloud_run_v2_service.ingress[0].binary_authorization[0],
      google_cloud_run_v2_worker_pool.worker[0].binary_authorization[0],
      google_cloud_run_v2_job.account[0].binary_authorization[0],
    ] : authorization.use_default && authorization.policy == null])
    error_message = "`default` is the project's own policy."
  }

  assert {
    condition     = contains(keys(google_project_service.used), "binaryauthorization.googleapis.com")
    error_message = "Its API is on."
  }
}

run "or_what_another_policy_allows" {
  command = plan

  variables {
    binary_authorization = "projects/my-project/platforms/cloudRun/policies/signed"
  }

  assert {
    condition     = google_cloud_run_v2_service.ingress[0].binary_authorization[0].policy == var.binary_authorization && google_cloud_run_v2_service.ingress[0].binary_authorization[0].use_default == null
    error_message = "A policy by name is that policy."
  }
}

run "a_policy_has_the_name_of_one" {
  command = plan

  variables {
    binary_authorization = "signed"
  }

  expect_failures = [var.binary_authorization]
}

run "an_image_is_named_by_its_digest" {
  command = plan

  variables {
    image = "europe-west1-docker.pkg.dev/my-project/event-log/event-logging:latest"
  }

  expect_failures = [var.image]
}

run "a_name_is_short_enough_for_its_service_accounts" {
  command = plan

  variables {
    name = "event-logging-production"
  }

  expect_failures = [var.name]
}
