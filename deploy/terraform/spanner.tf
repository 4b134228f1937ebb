locals {
  # By number, whichever folder a file is in. The provider treats statements added at the end as a schema change, and any
  # other difference as a new database (which deletion_protection then refuses).
  ddl_paths = concat(
    [for name in fileset("${path.module}/../spanner", "*.sql") : "${path.module}/../spanner/${name}"],
    [for name in fileset("${path.module}/../spanner/roles", "*.sql") : "${path.module}/../spanner/roles/${name}"],
  )
  ddl_by_number = { for ddl_path in local.ddl_paths : basename(ddl_path) => file(ddl_path) }

  # Comments are removed, then a statement ends at a semicolon. deploy/schema.py has the rules in full; a test holds both
  # equal.
  ddl = flatten([
    for name in sort(keys(local.ddl_by_number)) : [
      for statement in split(";", replace(local.ddl_by_number[name], "/--[^\n]*/", "")) :
      trimspace(statement) if trimspace(statement) != ""
    ]
  ])
}

resource "google_spanner_instance" "this" {
  project                      = var.project
  name                         = var.name
  display_name                 = var.name
  config                       = var.spanner_config
  edition                      = var.spanner_edition
  processing_units             = var.spanner_processing_units
  default_backup_schedule_type = "NONE"

  depends_on = [google_project_service.used]
}

resource "google_spanner_database" "this" {
  project  = var.project
  instance = google_spanner_instance.this.name
  name     = var.name
  ddl      = local.ddl
  # The minimum, and the default. An index that works as a queue keeps its deleted entries for as long, and a scan of what
  # is pending passes over them: with 3 days, all that was delivered in 3 days. Backups serve recovery.
  version_retention_period = "1h"
  deletion_protection      = true
  enable_drop_protection   = true
}

resource "google_spanner_backup_schedule" "daily" {
  project            = var.project
  instance           = google_spanner_instance.this.name
  database           = google_spanner_database.this.name
  name               = "${var.name}-full"
  retention_duration = "${var.backup_retention_days * 86400}s"

  spec {
    cron_spec {
      text = var.backup_schedule
    }
  }

  full_backup_spec {}
}
