"""Spanner: the adapters of the ports in `shared/events/` and `shared/process/`, and what they have in common."""
