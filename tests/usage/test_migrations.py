"""Migrations are atomic and exclusive, also if one is killed."""

import signal
import subprocess
import sys

import pytest
import sqlalchemy as sa

from app.database.engine import Database
from app.database.migrations import migrate, newest
from tests.support.server import ROOT

MIGRATE = """
import sys
from app.database.engine import Database
from app.database.migrations import migrate
print(*migrate(Database(sys.argv[1]).engine))
"""
#: A migration that waits for ever at the end of the second version, within its transaction.
STUCK = """
import sys, time
from alembic.operations import Operations
real = Operations.create_table
def create_table(self, name, *args, **options):
    made = real(self, name, *args, **options)
    if name == "usage_hours":
        print("stuck", flush=True)
        time.sleep(600)
    return made
Operations.create_table = create_table
from alembic import op
op.create_table = lambda *a, **o: create_table(op._proxy, *a, **o)
"""


def process(script, url):
    command = [sys.executable, "-c", script, url]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def tables(url):
    database = Database(url)
    found = sa.inspect(database.engine).get_table_names()
    database.close()
    return set(found)


def test_concurrent_migrations_run_once(url):
    started = [process(MIGRATE, url) for _ in range(3)]
    ended = [(p.communicate(timeout=60), p.returncode) for p in started]
    assert [code for _, code in ended] == [0, 0, 0], ended
    before = sorted(out.split()[0] for (out, _), _ in ended)
    assert before == [newest(), newest(), "None"]


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_killed_migration_changes_nothing(kind, tmp_path, request):
    url = f"sqlite:///{tmp_path}/usage.db"
    if kind == "postgresql":
        url = request.getfixturevalue("postgres").url()
    stuck = process(STUCK + MIGRATE, url)
    assert stuck.stdout.readline() == "stuck\n", stuck.communicate()
    stuck.send_signal(signal.SIGKILL)
    stuck.communicate(timeout=10)
    assert tables(url) == set()
    database = Database(url)
    assert migrate(database.engine) == (None, newest())
    database.close()
