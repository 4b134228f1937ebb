"""The RPC service: validates, normalizes, commits, publishes."""
