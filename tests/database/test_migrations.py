"""Migrations are atomic and exclusive, also if one is killed."""

import signal
import subprocess
import sys

import pytest
import sqlalchemy as sa

from app.database.columns import COLUMNS
from app.database.engine import Database
from app.database.migrations import migrate, newest, version
from app.database.tables import metadata
from app.usage.store.rollups import ROLLUPS
from app.usage.store.store import HOUR_MS, Store
from tests.support.server import ROOT
from tests.usage.conftest import row
from tests.usage.store.sums import sums

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
    stuck.communicate(timeout=60)
    assert tables(url) == set()
    database = Database(url)
    assert migrate(database.engine) == (None, newest())
    database.close()


def test_migrations_create_the_declared_tables(url):
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext

    database = Database(url)
    assert migrate(database.engine) == (None, newest())
    assert migrate(database.engine) == (newest(), newest())
    with database.engine.connect() as connection:
        assert version(connection) == newest()
        options = {"version_table": "embeddings_proxy_version", "compare_type": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []
    database.close()


def test_migrations_can_be_undone(url):
    from alembic import command

    from app.database.migrations import _config

    database = Database(url)
    migrate(database.engine)
    with database.engine.begin() as connection:
        config = _config()
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    assert sa.inspect(database.engine).get_table_names() == ["embeddings_proxy_version"]
    database.close()


def test_migration_fills_rollups_from_existing_rows(url):
    from alembic import command

    from app.database.migrations import _config

    database = Database(url)
    with database.engine.begin() as connection:
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    rows = [row(n, time=n * HOUR_MS * 7, user=f"u{n % 2}") for n in range(20)]
    _insert_before_spaces(database, rows)
    assert migrate(database.engine) == ("0001", newest())
    filled = [sums(database, table.name) for table in ROLLUPS]
    for table in ("usage_requests", *(table.name for table in ROLLUPS)):
        database.run(lambda c, t=table: c.exec_driver_sql(f"DELETE FROM {t}"))
    Store(database).insert(rows)
    assert filled == [sums(database, table.name) for table in ROLLUPS]
    assert all(filled)
    database.close()


def _insert_before_spaces(database, rows):
    """Insert rows as versions before 0004 did: without columns of spaces and service tiers."""
    names = [name for name in COLUMNS if name not in ("space", "service_tier")]
    values = [dict(zip(names, r, strict=False)) for r in rows]
    table = sa.table("usage_requests", *map(sa.column, names))
    database.run(lambda c: c.execute(sa.insert(table), values))


def test_rows_of_workers_of_the_version_before_are_taken_after_the_migration(database, store):
    _insert_before_spaces(database, [row(1)])
    store.insert([row(2, space="acme/bge", service_tier="flex")])
    columns = metadata.tables["usage_requests"].c
    select = sa.select(columns.space, columns.service_tier).order_by("number")
    found = database.run(lambda c: [tuple(each) for each in c.execute(select)])
    assert found == [("", "default"), ("acme/bge", "flex")]
