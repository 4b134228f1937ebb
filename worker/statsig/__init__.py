"""Statsig: the port, its adapter on the official SDK, and what an answer proves."""
