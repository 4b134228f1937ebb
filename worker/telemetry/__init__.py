"""The worker's metrics and traces: observers around its ports, wired only if telemetry is on."""
