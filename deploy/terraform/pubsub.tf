# The same settings as in deploy/local/provision.py, for the emulator; a test holds both equal.

resource "google_pubsub_topic" "forward" {
  project = var.project
  name    = "${var.name}-forward"

  depends_on = [google_project_service.used]
}

resource "google_pubsub_topic" "dead_letter" {
  project = var.project
  name    = "${var.name}-dead-letter"

  depends_on = [google_project_service.used]
}

resource "google_pubsub_subscription" "forward" {
  project                    = var.project
  name                       = "${var.name}-forward-worker"
  topic                      = google_pubsub_topic.forward.id
  ack_deadline_seconds       = 10
  message_retention_duration = "604800s"

  # An empty ttl is "never"; without this block a subscription that idles for 31 days is deleted.
  expiration_policy {
    ttl = ""
  }

  retry_policy {
    minimum_backoff = "10s"
    maximum_backoff = "600s"
  }

  # The backstop: the worker itself dead-letters long before, with a reason.
  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.dead_letter.id
    max_delivery_attempts = 100
  }

  # A message to a topic without a subscription is lost: the dead-letter subscription comes first.
  depends_on = [google_pubsub_subscription.dead_letter]
}

# The worker collects dead letters from here into Spanner within seconds. If it cannot, they are kept for 7 days.
resource "google_pubsub_subscription" "dead_letter" {
  project                    = var.project
  name                       = "${var.name}-dead-letter-hold"
  topic                      = google_pubsub_topic.dead_letter.id
  ack_deadline_seconds       = 60
  message_retention_duration = "604800s"

  expiration_policy {
    ttl = ""
  }
}
