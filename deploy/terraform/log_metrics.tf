# Counted from the processes' structured log lines, whose names are static (README.md of the repository lists them).

locals {
  ingress_logs = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"${var.name}-ingress\""
  worker_logs  = "resource.type=\"cloud_run_worker_pool\" AND resource.labels.worker_pool_name=\"${var.name}-worker\""

  counted_lines = {
    reconciled      = { logs = local.worker_logs, what = "Rounds in which the reconciler published something again" }
    batch_forwarded = { logs = local.worker_logs, what = "Batches that were forwarded" }
    attempt_failed  = { logs = local.worker_logs, what = "Requests to Statsig that failed" }
    publish_failed  = { logs = local.ingress_logs, what = "Publishes that failed, so that the reconciler has to do them" }
  }
}

resource "google_logging_metric" "rpc" {
  project = var.project
  name    = "${var.name}/rpc"
  filter  = "${local.ingress_logs} AND jsonPayload.message=\"rpc\""

  label_extractors = {
    method = "EXTRACT(jsonPayload.method)"
    code   = "EXTRACT(jsonPayload.code)"
  }

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
    unit        = "1"

    labels {
      key = "method"
    }
    labels {
      key = "code"
    }
  }
}

resource "google_logging_metric" "lines" {
  for_each = local.counted_lines

  project     = var.project
  name        = "${var.name}/${each.key}"
  description = each.value.what
  filter      = "${each.value.logs} AND jsonPayload.message=\"${each.key}\""

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
    unit        = "1"
  }
}
