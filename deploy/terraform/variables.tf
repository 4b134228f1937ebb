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

variable "erasers" {
  description = "IAM members that may act as the eraser's service account, the only one that may delete rows: those who run `nest-events erase`."
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

# One for each node or two (cloud.google.com/spanner/docs/schema-design); 32 are enough for some tens of nodes. A variable of
# its own and not one of the settings above: ingress, worker, account and operators must all have the same value.
variable "forward_shards" {
  description = "Shards of the indexes by time, one for each Spanner node or two; FORWARD_SHARDS of all processes. It may be raised at any time. Lower it only where `nest-events doctor` finds nothing beyond: no worker looks into a shard that is not counted."
  type        = number
  default     = 32

  validation {
    condition     = var.forward_shards >= 1 && var.forward_shards <= 1000 && floor(var.forward_shards) == var.forward_shards
    error_message = "A whole number, 1 to 1000."
  }
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
  description = "Bind each identity to its database role, so that it can do with rows what its work needs and nothing else; see README.md. False lets IAM decide, for all tables alike."
  type        = bool
  default     = true
}

variable "vpc_access" {
  description = "Direct VPC egress of ingress, worker and account: network and subnetwork by name or self link, network tags for firewall rules, and egress, PRIVATE_RANGES_ONLY or ALL_TRAFFIC. With ALL_TRAFFIC the network needs Cloud NAT, or no event reaches Statsig, and Private Google Access. Null, the default: Cloud Run's own way out."
  type = object({
    network    = optional(string)
    subnetwork = string
    tags       = optional(list(string), [])
    egress     = optional(string, "PRIVATE_RANGES_ONLY")
  })
  default = null

  validation {
    condition     = var.vpc_access == null || contains(["PRIVATE_RANGES_ONLY", "ALL_TRAFFIC"], try(var.vpc_access.egress, ""))
    error_message = "egress is PRIVATE_RANGES_ONLY or ALL_TRAFFIC."
  }
}

variable "binary_authorization" {
  description = "Have Cloud Run start only images that a Binary Authorization policy allows: `default` for the project's own, or a platform policy, projects/P/platforms/cloudRun/policies/NAME. The policy and its attestors are yours to make, before this is set: one that the image does not meet stops every start. Null, the default: off."
  type        = string
  default     = null

  validation {
    condition     = var.binary_authorization == null || can(regex("^(default|projects/[^/]+/platforms/cloudRun/policies/[^/]+)$", var.binary_authorization))
    error_message = "`default`, or projects/P/platforms/cloudRun/policies/NAME."
  }
}

variable "account_schedule" {
  description = "When `nest-events account` looks whether every event of the last 48 hours is accounted for, as cron in UTC. At least once in 48 hours, or some are never looked at."
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

# Why these goals, over 30 days: 0.999 of calls and events is 43 minutes of everything failing. Cloud Run promises 99.95 %
# and Spanner in one region 99.99 %, a call needs both, and each deployment takes some. 0.99 of commits leaves room for cold
# starts and for splits that move. 0.99 of deliveries is an outage of Statsig of 7 hours, which the service cannot shorten.
# No daily account may fail, but the API takes no goal of 1: with 0.999 one failure misses it.
variable "objectives" {
  description = "The goals, as shares: calls that are not answered with an error of ours; events, those inside LogEvents too, that are not refused for a reason of ours; commits within 0.5 s; deliveries within 60 s of acceptance; accounts that find everything."
  type = object({
    calls      = optional(number, 0.999)
    events     = optional(number, 0.999)
    commits    = optional(number, 0.99)
    deliveries = optional(number, 0.99)
    accounts   = optional(number, 0.999)
  })
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for goal in values(var.objectives) : goal > 0 && goal <= 0.9999])
    error_message = "Shares above 0 and at most 0.9999: the API takes no other goals."
  }
}

# Thirty rolling days are the most that the API takes, and the period of the SRE workbook's burn rates.
variable "objective_days" {
  description = "The rolling days over which an objective is looked at, 1 to 30. Burn rates follow: they alert on a share of the budget."
  type        = number
  default     = 30

  validation {
    condition     = var.objective_days >= 1 && var.objective_days <= 30 && floor(var.objective_days) == var.objective_days
    error_message = "Whole days, 1 to 30."
  }
}

variable "metrics_have_arrived" {
  description = "Whether Cloud Monitoring has the metrics that ingress and worker export: true makes the objectives of events, commits and deliveries. Before the first event was logged and delivered they are refused with 400, hence a third apply; see ../README.md."
  type        = bool
  default     = false
}

variable "telemetry_endpoint" {
  description = "Where ingress, worker and account send traces and metrics over OTLP/HTTP: Google, or the base address of a collector. Null turns it off, and with it the alerts and most of the dashboard that are made of it."
  type        = string
  default     = "https://telemetry.googleapis.com"
}

# A recorded event has some ten spans from the call to Statsig's answer, so 0.05 is half a span an event: enough to have an
# example of everything that is slow or fails more than rarely, at a twentieth of the price. A trace that a caller has sampled
# is recorded regardless, and metrics count every event.
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
