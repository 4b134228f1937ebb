resource "google_service_account" "ingress" {
  project      = var.project
  account_id   = "${var.name}-ingress"
  display_name = "Event Logging: ingress"
}

resource "google_service_account" "worker" {
  project      = var.project
  account_id   = "${var.name}-worker"
  display_name = "Event Logging: worker"
}

resource "google_service_account" "operator" {
  project      = var.project
  account_id   = "${var.name}-operator"
  display_name = "Event Logging: operators, with nest-events"
}

# The only one that may delete, for `nest-events erase` alone.
resource "google_service_account" "eraser" {
  project      = var.project
  account_id   = "${var.name}-eraser"
  display_name = "Event Logging: operators who erase an actor"
}

resource "google_service_account" "export" {
  project      = var.project
  account_id   = "${var.name}-export"
  display_name = "Event Logging: export of the event log to BigQuery"
}

# For use without database roles. Google's roles/spanner.databaseUser would allow DDL too.
# tests/unit/deploy/test_terraform_grants.py has the call behind each permission.
resource "google_project_iam_custom_role" "database_writer" {
  count = var.use_database_roles ? 0 : 1

  project = var.project
  role_id = "${replace(var.name, "-", "_")}_database_writer"
  title   = "Event Logging: read and write rows, no DDL"
  permissions = [
    "spanner.databases.beginOrRollbackReadWriteTransaction",
    "spanner.databases.read",
    "spanner.databases.select",
    "spanner.databases.write",
    "spanner.sessions.create",
  ]
}

# In addition to the writer: several reads at one timestamp.
resource "google_project_iam_custom_role" "database_looker" {
  count = var.use_database_roles ? 0 : 1

  project     = var.project
  role_id     = "${replace(var.name, "-", "_")}_database_looker"
  title       = "Event Logging: read at one timestamp"
  permissions = ["spanner.databases.beginReadOnlyTransaction"]
}

resource "google_project_iam_custom_role" "database_exporter" {
  count = var.use_database_roles ? 0 : 1

  project = var.project
  role_id = "${replace(var.name, "-", "_")}_database_exporter"
  title   = "Event Logging: read whole tables, in partitions"
  permissions = [
    "spanner.databases.beginReadOnlyTransaction",
    "spanner.databases.partitionQuery",
    "spanner.databases.partitionRead",
    "spanner.databases.read",
    "spanner.databases.select",
    "spanner.sessions.create",
  ]
}

locals {
  accounts = {
    ingress  = google_service_account.ingress.member
    worker   = google_service_account.worker.member
    operator = google_service_account.operator.member
    eraser   = google_service_account.eraser.member
    export   = google_service_account.export.member
  }

  # Without database roles IAM decides who reads and writes, for all tables alike, deletes included.
  database_grants = var.use_database_roles ? {} : {
    ingress_writer  = { account = "ingress", role = google_project_iam_custom_role.database_writer[0].id }
    worker_writer   = { account = "worker", role = google_project_iam_custom_role.database_writer[0].id }
    operator_writer = { account = "operator", role = google_project_iam_custom_role.database_writer[0].id }
    operator_looker = { account = "operator", role = google_project_iam_custom_role.database_looker[0].id }
    eraser_writer   = { account = "eraser", role = google_project_iam_custom_role.database_writer[0].id }
    eraser_looker   = { account = "eraser", role = google_project_iam_custom_role.database_looker[0].id }
    export_exporter = { account = "export", role = google_project_iam_custom_role.database_exporter[0].id }
  }

  # With database roles each account may connect only as its own role, whose grants are in deploy/spanner/roles.
  database_roles = var.use_database_roles ? toset(["ingress", "worker", "operator", "eraser", "export"]) : toset([])
}

resource "google_spanner_database_iam_member" "rows" {
  for_each = local.database_grants

  project  = var.project
  instance = google_spanner_instance.this.name
  database = google_spanner_database.this.name
  role     = each.value.role
  member   = local.accounts[each.value.account]
}

resource "google_spanner_database_iam_member" "fine_grained" {
  for_each = local.database_roles

  project  = var.project
  instance = google_spanner_instance.this.name
  database = google_spanner_database.this.name
  role     = "roles/spanner.fineGrainedAccessUser"
  member   = local.accounts[each.value]
}

resource "google_spanner_database_iam_member" "as_role" {
  for_each = local.database_roles

  project  = var.project
  instance = google_spanner_instance.this.name
  database = google_spanner_database.this.name
  role     = "roles/spanner.databaseRoleUser"
  member   = local.accounts[each.value]

  condition {
    title      = "only_${each.value}"
    expression = "resource.type == 'spanner.googleapis.com/DatabaseRole' && resource.name.endsWith('/databaseRoles/${each.value}')"
  }
}

# --- topics and subscriptions ----------------------------------------------------------------------------------------

resource "google_pubsub_topic_iam_member" "ingress_publishes" {
  project = var.project
  topic   = google_pubsub_topic.forward.name
  role    = "roles/pubsub.publisher"
  member  = google_service_account.ingress.member
}

resource "google_pubsub_subscription_iam_member" "worker_pulls" {
  project      = var.project
  subscription = google_pubsub_subscription.forward.name
  role         = "roles/pubsub.subscriber"
  member       = google_service_account.worker.member
}

# For the reconciler.
resource "google_pubsub_topic_iam_member" "worker_republishes" {
  project = var.project
  topic   = google_pubsub_topic.forward.name
  role    = "roles/pubsub.publisher"
  member  = google_service_account.worker.member
}

resource "google_pubsub_topic_iam_member" "worker_dead_letters" {
  project = var.project
  topic   = google_pubsub_topic.dead_letter.name
  role    = "roles/pubsub.publisher"
  member  = google_service_account.worker.member
}

# The worker collects dead letters, native ones too, into Spanner, where operators list and replay them.
resource "google_pubsub_subscription_iam_member" "worker_collects_dead_letters" {
  project      = var.project
  subscription = google_pubsub_subscription.dead_letter.name
  role         = "roles/pubsub.subscriber"
  member       = google_service_account.worker.member
}

resource "google_pubsub_topic_iam_member" "operator_replays" {
  project = var.project
  topic   = google_pubsub_topic.forward.name
  role    = "roles/pubsub.publisher"
  member  = google_service_account.operator.member
}

# `nest-events doctor` compares the settings of topics and subscriptions with what they should be.
resource "google_pubsub_topic_iam_member" "operator_looks" {
  for_each = { forward = google_pubsub_topic.forward.name, dead_letter = google_pubsub_topic.dead_letter.name }

  project = var.project
  topic   = each.value
  role    = "roles/pubsub.viewer"
  member  = google_service_account.operator.member
}

resource "google_pubsub_subscription_iam_member" "operator_looks" {
  for_each = {
    forward     = google_pubsub_subscription.forward.name
    dead_letter = google_pubsub_subscription.dead_letter.name
  }

  project      = var.project
  subscription = each.value
  role         = "roles/pubsub.viewer"
  member       = google_service_account.operator.member
}

# Without these two grants native dead-lettering does nothing, and only a console page shows it: Pub/Sub itself publishes
# the dead letter, and then acknowledges the message.
resource "google_pubsub_topic_iam_member" "pubsub_dead_letters" {
  project = var.project
  topic   = google_pubsub_topic.dead_letter.name
  role    = "roles/pubsub.publisher"
  member  = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-pubsub.iam.gserviceaccount.com"
}

resource "google_pubsub_subscription_iam_member" "pubsub_acknowledges" {
  project      = var.project
  subscription = google_pubsub_subscription.forward.name
  role         = "roles/pubsub.subscriber"
  member       = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-pubsub.iam.gserviceaccount.com"
}

# --- telemetry -------------------------------------------------------------------------------------------------------

locals {
  # A collector of your own needs no grant here.
  exports_to_google = var.telemetry_endpoint == null ? false : can(regex("^https://[^/]*[.]googleapis[.]com(/|$)", var.telemetry_endpoint))

  # Each role permits writing one signal (docs.cloud.google.com/iam/docs/roles-permissions/telemetry). Neither can be
  # granted on less than the project. roles/serviceusage.serviceUsageConsumer is needed only with a project to charge in
  # x-goog-user-project; the credentials of Cloud Run's service accounts send none.
  export_grants = local.exports_to_google ? {
    ingress_traces   = { account = "ingress", role = "roles/telemetry.tracesWriter" }
    ingress_metrics  = { account = "ingress", role = "roles/telemetry.metricsWriter" }
    worker_traces    = { account = "worker", role = "roles/telemetry.tracesWriter" }
    worker_metrics   = { account = "worker", role = "roles/telemetry.metricsWriter" }
    operator_traces  = { account = "operator", role = "roles/telemetry.tracesWriter" }
    operator_metrics = { account = "operator", role = "roles/telemetry.metricsWriter" }
  } : {}
}

resource "google_project_iam_member" "exports" {
  for_each = local.export_grants

  project = var.project
  role    = each.value.role
  member  = local.accounts[each.value.account]
}

# --- the rest --------------------------------------------------------------------------------------------------------

resource "google_secret_manager_secret_iam_member" "worker_reads_key" {
  project   = var.project
  secret_id = google_secret_manager_secret.statsig.secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.worker.member
}

resource "google_service_account_iam_member" "people_act_as_operator" {
  for_each = var.operators

  service_account_id = google_service_account.operator.name
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = each.value
}

resource "google_service_account_iam_member" "people_act_as_eraser" {
  for_each = var.erasers

  service_account_id = google_service_account.eraser.name
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = each.value
}
