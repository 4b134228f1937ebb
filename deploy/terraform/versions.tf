terraform {
  required_version = ">= 1.9"

  required_providers {
    google = {
      source = "hashicorp/google"
      # 6.50 is the version whose arguments tests/unit/deploy/test_terraform.py checks against.
      version = ">= 6.50, < 8"
    }
  }
}
