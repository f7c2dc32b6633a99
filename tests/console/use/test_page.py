"""The page Use: figures, what each session sees, filters, order, CSV."""

import csv
import io
import re
from urllib.parse import parse_qsl

from tests.api.fake import FakeProvider, app_with
from tests.console.ledger_app import ADMIN_KEY, XSS, Visitor, table, text_of, used
from tests.support.settings import KEY, KEYS, NARROW_KEY, key
from tests.usage.conftest import database as database
from tests.usage.conftest import postgres as postgres
from tests.usage.conftest import sqlite as sqlite
from tests.usage.conftest import url as url

HOUR_MS = 3_600_000


def _query(link):
    return dict(parse_qsl(link.replace("&amp;", "&")))


def test_figures_are_those_of_the_ledger(make, database):
    app = make(database)
    used(
        app,
        (3, {"key": "tests", "model": "embed"}),
        (2, {"key": "narrow", "model": "steady", "cost": 10**9, "status": 503}),
        (1, {"key": "tests", "model": "steady", "time": 0}),  # long ago
    )
    page = app.visitor().get("use", by="key", then="model")
    assert page.status_code == 200
    assert [cells[:6] for cells in table(page)] == [
        ["tests", "embed", "3", "30", "6", "<$0.0001"],
        ["narrow", "steady", "2", "20", "4", "$2.00"],
    ]
    figures = re.findall(r"<dt>([^<]+)</dt><dd>(.*?)</dd>", page.text)
    shown = {name: text_of(value) for name, value in figures}
    assert (shown["Requests"], shown["Cost"], shown["Failed"]) == ("5", "$2.00", "2 40.00 %")
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert "style=" not in page.text


def test_key_sees_its_own_use_only(make, sqlite):
    app = make(sqlite)
    used(app, (3, {"key": "tests", "user": "mine"}), (2, {"key": "narrow", "user": "other"}))
    visitor = app.visitor(NARROW_KEY)
    page = visitor.get("use", by="user")
    assert [cells[:2] for cells in table(page)] == [["other", "2"]]
    assert "mine" not in page.text
    assert "Block" not in page.text
    for arguments in ({"by": "key"}, {"then": "key"}):
        assert visitor.get("use", **arguments).status_code == 400
    assert [c[:2] for c in table(visitor.get("use", by="user", key="tests"))] == [["other", "2"]]
    text = visitor.get("use/csv", by="user", key="tests").text
    assert "mine" not in text
    assert "other" in text
    for path in ("use/block", "keys", "keys/new", "keys/key"):
        assert visitor.get(path, kind="user", name="x").status_code == 403, path
    for path in ("use/block", "use/unblock", "keys/block", "keys/new", "keys/revoke"):
        assert visitor.post(path, kind="user", name="x").status_code == 403, path
    assert app.blocks.read()[1] == []


def test_table_is_filtered_and_ordered_by_links(make, sqlite):
    app = make(sqlite)
    groups = [(n, {"user": f"u{n}", "key": "tests", "ms": 1000 // n}) for n in (1, 2, 3)]
    used(app, *groups, (4, {"user": "", "key": "narrow", "status": 429}))
    visitor = app.visitor()
    page = visitor.get("use", by="user")
    assert [cells[0] for cells in table(page)] == ["(none)", "u3", "u2", "u1"]
    (link,) = re.findall(r'href="\.\./console/use\?([^"#]*sort=mean_ms[^"#]*)#table"', page.text)
    slowest = visitor.get("use", **_query(link))
    assert [cells[0] for cells in table(slowest)][:3] == ["u1", "u2", "u3"]
    assert 'aria-sort="descending"' in slowest.text
    (link,) = re.findall(r'href="\.\./console/use\?([^"#]*sort=mean_ms[^"#]*)#table"', slowest.text)
    assert [c[0] for c in table(visitor.get("use", **_query(link)))][1:] == [
        "u3",
        "u2",
        "u1",
    ]
    for given, expected in (
        ({"user": "u2"}, ["u2"]),
        ({"user": "(none)"}, ["(none)"]),
        ({"status": "429"}, ["(none)"]),
        ({"key": "tests", "user": "(none)"}, []),
    ):
        page = visitor.get("use", by="user", **given)
        assert [cells[0] for cells in table(page)] == expected
    assert "No requests in that time." in page.text


INVALID = [
    {"by": "secret"},
    {"then": "x"},
    {"measure": "ms; DROP"},
    {"since": "soon"},
    {"until": "9999999w"},
    {"timezone": "../etc"},
    {"status": "x"},
    {"status": "9" * 30},
    {"user": "a\0b"},
    {"day": "2026-01-01"},
    {"dir": "up"},
]
ODD = [
    {"sort": "nothing"},
    {"since": "0m"},
    {"since": "1970-01-01"},
    {"since": "0001-01-01"},
    {"until": "2020-01-01"},
    {"by": "day"},
    {"by": "hour", "then": "user"},
    {"timezone": "Asia/Kolkata", "since": "24h", "by": "hour"},
]


def test_invalid_parameter_is_a_page_with_400(make, sqlite):
    visitor = make(sqlite).visitor()
    for arguments in INVALID:
        answer = visitor.get("use", **arguments)
        assert answer.status_code == 400, arguments
        assert "That was not possible" in answer.text


def test_odd_parameters_give_a_page(make, database):
    app = make(database)
    used(app, (2, {}), (1, {"time": 5}))
    visitor = app.visitor()
    for arguments in ODD:
        assert visitor.get("use", **arguments).status_code == 200, arguments


def test_csv_has_the_groups_and_no_formula(make, database):
    app = make(database, usage={"unusual": {"requests_per_hour": 1}})
    used(app, (2, {"user": "=1+1", "cost": 10**9}), (1, {"user": 'a,"b"\n'}))
    answer = app.visitor().get("use/csv", by="user", then="model", sort="cost")
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert re.fullmatch(
        r'attachment; filename="usage-[\d-]+-by-user-model\.csv"',
        answer.headers["Content-Disposition"],
    )
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert [(r["user"], r["model"], r["requests"]) for r in rows] == [
        ("'=1+1", "m", "2"),
        ('a,"b"\n', "m", "1"),
    ]
    assert (rows[0]["cost"], rows[0]["unusual_hours"]) == ("2.0", "1")


def test_bars_and_their_table_add_up_to_the_total(make, sqlite):
    app = make(sqlite)
    groups = [(n, {"user": f"u{n}", "prompt_tokens": 100}) for n in range(1, 9)]
    used(app, *groups, ago_ms=26 * HOUR_MS)
    used(app, (7, {"user": "u8", "prompt_tokens": 1, "writer": "later"}))
    page = app.visitor().get("use", by="user", measure="prompt_tokens", since="7d")
    names = re.findall(r'<span class="c\d"><i></i>([^<]+)</span>', page.text)
    assert names == ["u8", "u7", "u6", "u5", "u4", "all others"]
    rows = [
        [int(cell.replace(",", "")) for cell in cells[1:]] for cells in table(page, "over-time")
    ]
    assert sum(map(sum, rows)) == 3600 + 7
    assert [sum(column) for column in zip(*rows, strict=True)] == [807, 700, 600, 500, 400, 600]
    assert len(rows) == 8  # days


def test_the_longest_range_has_a_bar_for_each_of_its_days(make, sqlite):
    """400 days that begin within a day end in the 401st."""
    app = make(sqlite)
    for day in range(401):
        used(app, (1, {"writer": f"w{day}"}), ago_ms=max(60_000, day * 24 * HOUR_MS - 60_000))
    page = app.visitor().get("use", by="model", since="400d")
    rows = table(page, "over-time")
    assert sum(int(cell) for cells in rows for cell in cells[1:]) == 401
    assert len(rows) == 401


def test_names_are_escaped_everywhere(make, sqlite):
    app = make(sqlite, usage={"unusual": {"requests_per_hour": 1}})
    used(app, (3, {"user": XSS, "key": XSS, "model": XSS, "error_code": XSS}))
    app.blocks.block("user", XSS, None, XSS)
    app.services.volume_alert()
    visitor = app.visitor()
    for arguments in (
        {"by": "user", "then": "key"},
        {"by": "user", "user": XSS},
        {"by": "error_code", "model": XSS, "since": "24h"},
        {"by": XSS},
        {"since": XSS},
    ):
        page = visitor.get("use", **arguments)
        assert XSS not in page.text
        assert "<img" not in page.text
    assert table(visitor.get("use"), "unusual")[1][1] == XSS
    page = visitor.get("use/block", kind="user", name=XSS)
    assert "<img" not in page.text
    assert "&lt;img" in page.text


def test_without_a_ledger_the_page_says_how_to_block_by_settings(monkeypatch):
    keys = {**KEYS, "root": {**key(ADMIN_KEY, "*"), "admin": True}}
    client = app_with(monkeypatch, FakeProvider(), KEYS=keys, BLOCKED_USERS=["mallory"])
    page = Visitor(client.application, ADMIN_KEY).get("use")
    assert (page.status_code, "BLOCKED_USERS = [&#39;mallory&#39;]" in page.text) == (200, True)
    assert Visitor(client.application, KEY).get("use").status_code == 403
    assert Visitor(client.application, ADMIN_KEY).get("keys").status_code == 404
    client.application.extensions["services"].close()


def test_disabled_console_has_no_pages(make, sqlite):
    app = make(sqlite, CONSOLE={"enabled": False})
    assert app.app.test_client().get("/console/use").status_code == 404
