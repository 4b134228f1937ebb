"""The worker: pulls forward messages and sends their events to Statsig; also reconciler and dead-letter collector."""
