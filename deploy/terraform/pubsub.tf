# The same settings as deploy/local/provision.py gives the emulator; a test holds both equal.

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

  # The backstop: the worker dead-letters by itself, with a reason, long before.
  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.dead_letter.id
    max_delivery_attempts = 100
  }

  # A dead letter of a topic without subscription is lost.
  depends_on = [google_pubsub_subscription.dead_letter]
}

# What passes through here the worker takes into Spanner within seconds. While it cannot, 7 days are how long that may take.
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
