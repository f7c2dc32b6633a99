"""When the page Use makes no report: limits of a key, and a database that does not answer."""

from tests.support.settings import KEY
from tests.usage.conftest import sqlite as sqlite


def test_key_makes_one_report_at_a_time_in_all_its_sessions(make, sqlite):
    """A key begins as many sessions as it likes, and must not take the reports of others."""
    app = make(sqlite)
    plain, again, admin = app.visitor(KEY), app.visitor(KEY), app.visitor()
    reporter = app.services.reporter
    report, meanwhile = reporter._store.report, []

    class Slow:
        def report(self, *arguments):
            reporter._store.report = report
            meanwhile.extend(visitor.get("use").status_code for visitor in (again, admin))
            return report(*arguments)

    reporter._store.report = Slow().report
    assert plain.get("use").status_code == 200
    assert meanwhile == [429, 200]


def test_reports_of_a_key_are_limited_in_all_its_sessions(make, sqlite, monkeypatch):
    app = make(sqlite)
    monkeypatch.setattr("app.usage.reports.reporter.MAX_REPORTS_PER_MINUTE", 3)
    statuses = [app.visitor(KEY).get("use/csv").status_code for _ in range(4)]
    assert statuses == [200, 200, 200, 429]
    assert app.visitor().get("use").status_code == 200


def test_page_that_is_refused_for_now_says_when_to_try_again(make, sqlite, monkeypatch):
    visitor = make(sqlite).visitor(KEY)
    monkeypatch.setattr("app.usage.reports.reporter.MAX_REPORTS_PER_MINUTE", 1)
    assert visitor.get("use").status_code == 200
    refused = visitor.get("use")
    assert refused.status_code == 429
    assert 0 < int(refused.headers["Retry-After"]) <= 61


def test_database_that_is_away_is_a_503_page(make, sqlite, tmp_path):
    app = make(sqlite)
    visitor = app.visitor()
    (tmp_path / "usage.db").rename(tmp_path / "away.db")
    (tmp_path / "usage.db").mkdir()
    assert visitor.get("use").status_code == 503
    answer = visitor.post("use/block", kind="user", name="x", duration="")
    assert (answer.status_code, "nothing was changed" in answer.text) == (503, True)
    assert visitor.get("keys").status_code == 503
