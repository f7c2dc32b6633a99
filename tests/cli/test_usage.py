"""``flask --app wsgi usage …``: output, output stream, exit code."""

import csv
import io
import json
import time

import pytest
from click.testing import CliRunner

from app.cli.usage import usage
from app.database.engine import Database
from app.database.migrations import newest
from app.usage.store.store import Store
from tests.usage.conftest import row


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """Writes a settings file with this ledger; keywords are other settings."""
    path = tmp_path / "settings.py"
    monkeypatch.setenv("PROXY_SETTINGS", str(path))
    monkeypatch.setenv("ALPHANEURAL_API_KEY", "sk-mine")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    def write(url, **options):
        path.write_text(f"USAGE = { ({'url': url} | options)!r}\n")
        return url

    return write


def run(*arguments):
    return CliRunner().invoke(usage, arguments)


def test_migrate_creates_tables_once(settings, url):
    settings(url)
    first, second = run("migrate"), run("migrate")
    assert (first.exit_code, first.stdout) == (0, f"empty → {newest()}.\n")
    assert (second.exit_code, second.stdout) == (0, f"Nothing to do: {newest()}.\n")
    assert run("report").stdout == "No requests in that time.\n"


@pytest.fixture
def filled(settings, tmp_path):
    url = settings(f"sqlite:///{tmp_path}/usage.db", unusual={"requests_per_hour": 1})
    run("migrate")
    now = int(time.time() * 1000)
    database = Database(url)
    Store(database).insert(
        [
            row(1, time=now, user="a"),
            row(2, time=now, user="a", status=503),
            row(3, time=now, user="b", model="=n"),
            row(4, time=now - 10 * 86_400_000, user="old"),
        ]
    )
    database.close()


def test_report_is_a_table(filled):
    lines = run("report", "--by", "user").stdout.splitlines()
    assert lines[0].split()[:5] == ["user", "requests", "refused", "invalid", "failed"]
    assert "unusual_hours" in lines[0]
    assert [line.split()[:2] for line in lines[1:]] == [["a", "2"], ["b", "1"]]


def test_report_in_json_and_csv(filled):
    arguments = ("report", "--by", "key,user,model", "--since", "30d")
    rows = json.loads(run(*arguments, "--json").stdout)
    assert [(r["key"], r["user"], r["model"], r["requests"]) for r in rows] == [
        ("team", "a", "m", 2),
        ("team", "b", "=n", 1),
        ("team", "old", "m", 1),
    ]
    assert (rows[0]["error_rate"], rows[0]["unusual_hours"]) == (0.5, 1)
    assert rows[0]["cost"] == pytest.approx(32e-9)
    table = list(csv.DictReader(io.StringIO(run(*arguments, "--csv").stdout)))
    assert [r["model"] for r in table] == ["m", "'=n", "m"]
    until = run(*arguments, "--until", "5d", "--json")
    assert [r["user"] for r in json.loads(until.stdout)] == ["old"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--by", "secret"), "is nothing to group by"),
        (("--since", "soon"), "is no time"),
        (("--since", "999999w"), "out of range"),
        (("--timezone", "Mars"), "is no time zone"),
    ],
)
def test_invalid_options_are_refused(filled, arguments, message):
    result = run("report", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_missing_tables_name_the_migrate_command(settings, tmp_path):
    settings(f"sqlite:///{tmp_path}/usage.db")
    result = run("report")
    assert result.exit_code == 1
    assert result.stderr == (
        "USAGE['url']: OperationalError: no such table: usage_hours "
        "(are the tables there? flask --app wsgi usage migrate)\n"
    )


def test_unavailable_database_is_one_line(settings, tmp_path):
    settings(f"sqlite:///{tmp_path}/no/such/place.db")
    result = run("migrate")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "USAGE['url']: unable to open database file\n"


def test_commands_without_ledger_name_the_setting(settings, tmp_path):
    (tmp_path / "settings.py").write_text("")
    result = run("report")
    assert result.exit_code == 1
    assert result.stderr.startswith("USAGE: must be set, for instance")


def test_wrong_settings_are_printed(settings):
    settings("mysql://x")
    result = run("migrate")
    assert result.exit_code == 1
    assert result.stderr.startswith("USAGE['url']: must be sqlite:///")


def test_flask_finds_the_commands():
    from importlib.metadata import entry_points

    from app.cli.keys import key

    found = {entry.name: entry.load() for entry in entry_points(group="flask.commands")}
    assert found["usage"] is usage
    assert found["key"] is key
