# Values that Google would fill in and that the module uses. Every resource of a type has the same.

mock_data "google_project" {
  defaults = {
    number = "123456789012"
  }
}

mock_resource "google_service_account" {
  defaults = {
    name   = "projects/my-project/serviceAccounts/someone@my-project.iam.gserviceaccount.com"
    email  = "someone@my-project.iam.gserviceaccount.com"
    member = "serviceAccount:someone@my-project.iam.gserviceaccount.com"
  }
}

mock_resource "google_cloud_run_v2_service" {
  defaults = {
    uri = "https://event-log-ingress-abcdefghij-ew.a.run.app"
  }
}

mock_resource "google_cloud_run_v2_job" {
  defaults = {
    id = "projects/my-project/locations/europe-west1/jobs/event-log-account"
  }
}

mock_resource "google_pubsub_topic" {
  defaults = {
    id = "projects/my-project/topics/a-topic"
  }
}

mock_resource "google_project_iam_custom_role" {
  defaults = {
    id = "projects/my-project/roles/a_role"
  }
}

mock_resource "google_monitoring_slo" {
  defaults = {
    name = "projects/123456789012/services/event-log/serviceLevelObjectives/one"
  }
}
