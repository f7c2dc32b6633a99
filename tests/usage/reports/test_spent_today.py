"""What was spent today: of the ledger, asked at most twice a minute, also when it is away."""

from zoneinfo import ZoneInfo

import pytest

from app.errors import UsageUnavailable
from app.limits.periods import Calendar
from app.usage.reports.spent_today import GOOD_FOR_S, SpentToday

MIDNIGHT = 1_700_002_800.0  # in Berlin, an hour before it is in UTC


class FakeReporter:
    """Gives ``rows``; fails if they are None."""

    def __init__(self):
        self.rows = [{"model": "a", "cost": 2_000_000_000}, {"model": "b", "cost": 500_000_000}]
        self.asked = []

    def report(self, key, query):
        self.asked.append(query)
        if self.rows is None:
            raise UsageUnavailable("away", retry_after=1)
        return self.rows


@pytest.fixture
def reporter():
    return FakeReporter()


@pytest.fixture
def clock():
    return [MIDNIGHT + 3600]


@pytest.fixture
def spent(reporter, clock):
    return SpentToday(reporter, Calendar("day", ZoneInfo("Europe/Berlin")), lambda: clock[0])


def test_all_models_of_the_day_are_added_up(spent, reporter):
    assert spent() == 2.5
    (query,) = reporter.asked
    assert query.since_ms == MIDNIGHT * 1000
    assert query.until_ms == (MIDNIGHT + 24 * 3600) * 1000
    assert query.key is None


def test_sum_is_asked_for_once_in_a_while(spent, reporter, clock):
    for _ in range(20):
        assert spent() == 2.5
    clock[0] += GOOD_FOR_S
    reporter.rows = [{"model": "a", "cost": 3_000_000_000}]
    assert spent() == 3.0
    assert len(reporter.asked) == 2


def test_database_that_is_away_is_not_asked_at_each_poll(spent, reporter, clock):
    reporter.rows = None
    assert [spent() for _ in range(5)] == [None] * 5
    assert len(reporter.asked) == 1


def test_last_sum_is_kept_while_the_database_is_away(spent, reporter, clock):
    assert spent() == 2.5
    reporter.rows = None
    clock[0] += GOOD_FOR_S
    assert spent() == 2.5
    clock[0] += 24 * 3600
    assert spent() is None  # that was yesterday's


def test_new_day_is_asked_for_at_once(spent, reporter, clock):
    clock[0] = MIDNIGHT + 24 * 3600 - 1
    assert spent() == 2.5
    reporter.rows = []
    clock[0] += 1
    assert spent() == 0.0
