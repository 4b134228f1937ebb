"""Traces and metrics over OpenTelemetry. The only part of the project that knows its SDK; off, none of it is wired."""
