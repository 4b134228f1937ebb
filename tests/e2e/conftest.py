"""Fixtures of the end-to-end tests."""

from tests.support.fixtures import seeded

__all__ = ["seeded"]
