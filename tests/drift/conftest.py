"""Databases and servers of the tests of drift."""

from tests.usage.conftest import database, postgres, url  # noqa: F401 - fixtures
