"""Code that ingress and worker share. Imports neither of them.

Its rooms form layers, and each imports only what stands before it (`tests/unit/shared/test_import_direction.py`):

1. `errors`, `clock`, `cancellation`, `concurrency`, `backoff`, `traceparent`, and the generated code in `gen`
2. `events`: events, their encodings, and the ports to where they are kept
3. `process`: settings, logs, reports
4. `pubsub`
5. `telemetry`
6. `spanner`: the adapters
7. `starting`: what both processes do before their event loops
"""
