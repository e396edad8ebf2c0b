"""The tiny classes are registered for every test of the engine."""

from tests.test_engine import tiny  # noqa: F401
