variable "project" {
  description = "Id of the Google Cloud project; GOOGLE_CLOUD_PROJECT of both processes."
  type        = string
}

variable "region" {
  description = "Region of Cloud Run, the image repository and the secret, for example europe-west1."
  type        = string
}

variable "name" {
  description = "Prefix of everything that is created."
  type        = string
  default     = "event-log"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,15}$", var.name))
    error_message = "2 to 16 lower-case letters, digits and hyphens, a letter first: service accounts have short ids."
  }
}

variable "image" {
  description = "The image with its digest, IMAGE@sha256:... Null creates everything but the processes: the first apply."
  type        = string
  default     = null

  validation {
    condition     = var.image == null || can(regex("@sha256:[0-9a-f]{64}$", var.image))
    error_message = "By digest, so that every instance runs the same bytes: IMAGE@sha256:..."
  }
}

variable "invokers" {
  description = "IAM members that may call the ingress, for example serviceAccount:shop@PROJECT.iam.gserviceaccount.com."
  type        = set(string)

  validation {
    condition     = !contains(var.invokers, "allUsers") && !contains(var.invokers, "allAuthenticatedUsers")
    error_message = "The service records who called; name callers."
  }
}

variable "operators" {
  description = "IAM members that may act as the operator's service account with nest-events, for example group:oncall@example.com."
  type        = set(string)
  default     = []
}

variable "statsig_environment" {
  description = "The Statsig tier, for example production. STATSIG_ENVIRONMENT of the worker."
  type        = string
}

variable "statsig_secret_version" {
  description = "Version of the secret that holds the Statsig server key. A new key is a new version and a new revision."
  type        = string
  default     = "1"
}

variable "ingress_settings" {
  description = "Further variables of deploy/settings.env for the ingress."
  type        = map(string)
  default     = {}
}

variable "worker_settings" {
  description = "Further variables of deploy/settings.env for the worker."
  type        = map(string)
  default     = {}
}

variable "ingress_min_instances" {
  description = "Instances that are always warm. 0 saves money and gives the first caller a cold start of seconds."
  type        = number
  default     = 1
}

variable "ingress_max_instances" {
  description = "The ceiling; times COMMIT_CONCURRENCY it is the number of commits that reach Spanner at once."
  type        = number
  default     = 20
}

variable "worker_instances" {
  description = "Workers, all of them always running. See README.md on how many."
  type        = number
  default     = 2
}

variable "spanner_config" {
  description = "Instance configuration, for example regional-europe-west1."
  type        = string
}

variable "spanner_edition" {
  description = "STANDARD, ENTERPRISE or ENTERPRISE_PLUS. Backup schedules and change streams need no more than STANDARD."
  type        = string
  default     = "STANDARD"
}

variable "spanner_processing_units" {
  description = "Capacity: 100 units steps below 1000, then 1000 unit steps."
  type        = number
  default     = 100
}

variable "backup_schedule" {
  description = "When a full backup is made, as cron in UTC."
  type        = string
  default     = "0 3 * * *"
}

variable "backup_retention_days" {
  description = "How long a backup is kept."
  type        = number
  default     = 14
}

variable "use_database_roles" {
  description = "Bind each identity to its database role; see README.md."
  type        = bool
  default     = false
}

variable "account_schedule" {
  description = "When `nest-events account` looks whether every event is accounted for, as cron in UTC. It reads the whole log."
  type        = string
  default     = "17 4 * * *"
}

variable "notification_channels" {
  description = "Names of the monitoring channels that alerts go to."
  type        = list(string)
  default     = []
}

variable "runbook_url" {
  description = "Where people read deploy/RUNBOOK.md; alerts link to its sections."
  type        = string
}

variable "telemetry_endpoint" {
  description = "Where ingress, worker and account send traces and metrics over OTLP/HTTP: Google, or the base address of a collector. Null turns it off, and with it the alerts and most of the dashboard that are made of it."
  type        = string
  default     = "https://telemetry.googleapis.com"
}

# A recorded event is some ten spans from the call to Statsig's answer, so 0.05 is half a span an event: enough to have an
# example of everything that is slow or fails more than now and then, at a twentieth of the price. What a caller traces
# itself is recorded whatever this says, and metrics count every event.
variable "trace_ratio" {
  description = "The share of traces that begin at the ingress and are recorded, 0 to 1. OTEL_TRACES_SAMPLER_ARG."
  type        = number
  default     = 0.05

  validation {
    condition     = var.trace_ratio >= 0 && var.trace_ratio <= 1
    error_message = "A share, from 0 to 1."
  }
}

variable "metric_export_seconds" {
  description = "Between two exports of metrics: what a chart resolves, and what is paid for."
  type        = number
  default     = 60

  validation {
    condition     = var.metric_export_seconds >= 5
    error_message = "No less than 5: Cloud Monitoring refuses points of a time series that come faster."
  }
}
