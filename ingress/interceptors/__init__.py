"""Interceptors of the RPC, one duty each."""
