"""Statsig: the port, its adapter on the official SDK, and the classification of answers."""
