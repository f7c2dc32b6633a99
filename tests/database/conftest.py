"""Fixtures of the ledger's database."""

from tests.usage.conftest import database as database
from tests.usage.conftest import postgres as postgres
from tests.usage.conftest import sqlite as sqlite
from tests.usage.conftest import store as store
from tests.usage.conftest import url as url
