"""What the worker measures and traces, around its ports; wired only where telemetry is on."""
