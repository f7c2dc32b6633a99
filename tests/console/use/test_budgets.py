"""The page Use shows what is left of budgets."""

from tests.console.ledger_app import table, used
from tests.support.settings import KEY, KEYS, NARROW_KEY, key
from tests.usage.conftest import sqlite as sqlite


def test_budgets_are_shown_to_administrators_and_of_the_own_key(make, sqlite):
    limited = {"narrow": {**KEYS["narrow"], "tokens_per_month": 100}}
    app = make(sqlite, keys={**limited, "big": {**key("sk-big", "*"), "dollars_per_month": 5.0}})
    used(app, (4, {"key": "narrow"}), (1, {"key": "big", "cost": 6 * 10**9}), ago_ms=1000)
    rows = table(app.visitor().get("use"), "budgets")
    assert [cells[:5] for cells in rows] == [
        ["big", "$5.00 a month", "$6.00", "120 %", "$0.00"],
        ["narrow", "100 tokens a month", "40", "40 %", "60"],
    ]
    assert rows[0][6] == "used up"
    assert [c[0] for c in table(app.visitor(NARROW_KEY).get("use"), "budgets")] == ["narrow"]
    page = app.visitor(KEY).get("use")
    assert "Your key has no limit of a day or a month." in " ".join(page.text.split())


def test_budget_is_right_where_there_are_more_keys_than_groups_of_a_report(
    make, sqlite, monkeypatch
):
    monkeypatch.setattr("app.usage.reports.reporter.MAX_GROUPS", 2)
    app = make(sqlite, keys={"narrow": {**KEYS["narrow"], "tokens_per_month": 100}})
    busy = [(5, {"key": f"oidc:{n}", "prompt_tokens": 1}) for n in range(3)]
    used(app, *busy, (1, {"key": "narrow", "prompt_tokens": 40}), ago_ms=1000)
    (cells,) = table(app.visitor().get("use"), "budgets")
    assert (cells[0], cells[2]) == ("narrow", "40")
