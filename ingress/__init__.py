"""The RPC service: validates and normalizes events, commits them, and publishes those that are to be forwarded."""
