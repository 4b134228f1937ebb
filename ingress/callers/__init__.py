"""Callers: who they are, and how they share capacity (fair shares, rate limits, back-pressure)."""
