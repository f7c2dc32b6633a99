"""Databases of the tests of drift."""

from tests.usage.conftest import database as database
from tests.usage.conftest import postgres as postgres
from tests.usage.conftest import url as url
