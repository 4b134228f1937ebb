"""Traces and metrics with OpenTelemetry. Only this package uses its SDK. Without a receiver none of it is wired."""
