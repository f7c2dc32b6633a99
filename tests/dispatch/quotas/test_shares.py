"""Each worker's share of the calls at once."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import config
from app.dispatch import Dispatcher
from app.dispatch.quotas.shares import calls_of_worker, exceeded_limits
from tests.api.fake import FakeProvider, app_with
from tests.api.fake import settings as app_settings
from tests.dispatch.parts import deployment

counts = st.integers(1, 300)


@given(counts, counts)
def test_all_workers_together_make_no_more_calls_than_the_limit(concurrency, workers):
    together = calls_of_worker(concurrency, workers) * workers
    assert together <= concurrency or (concurrency < workers and together == workers)
    assert together > concurrency - workers  # the remainder alone is left


@given(st.integers(1, 20), counts)
def test_share_of_a_deployment_is_that_of_its_provider(times, workers):
    """98 calls of 49 workers are 2 each, though 98 * (1 / 49) is below 2."""
    made = deployment(concurrency=times * workers, worker_share=1 / workers)
    assert made.concurrency == times


def _settings(concurrency, own=None):
    made = app_settings()
    made["PROVIDERS"]["fake"]["concurrency"] = concurrency
    made["MODELS"]["narrow"] = {
        "deployments": [{"provider": "fake", "model": "narrow", "concurrency": own}]
    }
    made["PROVIDERS"]["unused"] = {"kind": "openai", "api_key": "sk-1", "concurrency": 1}
    return made


@pytest.mark.parametrize(
    ("concurrency", "own", "exceeded"),
    [
        (16, None, []),
        (17, 16, []),
        (8, None, ["PROVIDERS['fake']['concurrency'] (8)"]),
        (16, 15, ["MODELS['narrow']['deployments'][0]['concurrency'] (15)"]),
    ],
)
def test_limits_below_the_number_of_workers_are_named(monkeypatch, concurrency, own, exceeded):
    monkeypatch.setenv("WEB_CONCURRENCY", "16")
    checked = config.check(_settings(concurrency, own))
    assert exceeded_limits(checked) == exceeded
    dispatcher = Dispatcher(checked, {"fake": FakeProvider()})
    (slots,) = {made.queue.slots for _, made in dispatcher.deployments()}
    assert slots == 1


def test_start_warns_of_a_limit_that_workers_exceed_together(monkeypatch, capsys):
    monkeypatch.setenv("WEB_CONCURRENCY", "16")
    app_with(monkeypatch, FakeProvider(), **_settings(8))
    logging.getLogger("app").handlers = []  # they write to the standard output of this test
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "at once" in line]
    assert "16 workers" in line
    assert "PROVIDERS['fake']['concurrency'] (8)" in line


@pytest.mark.parametrize(
    ("url", "has_host_store", "concurrency", "is_leased"),
    [
        (None, False, 8, False),
        (None, True, 8, True),
        (None, True, "auto", False),
        ("redis://127.0.0.1:1/0", False, 8, True),
        ("redis://127.0.0.1:1/0", False, "auto", False),
    ],
)
def test_slots_are_leased_where_there_is_a_store(
    monkeypatch, url, has_host_store, concurrency, is_leased
):
    monkeypatch.setenv("WEB_CONCURRENCY", "16")
    checked = config.check(_settings(concurrency) | {"LIMITS": {"url": url}})
    dispatcher = Dispatcher(checked, {"fake": FakeProvider()}, has_host_store=has_host_store)
    assert bool(dispatcher.leased_queues()) == is_leased
    exceeds = not is_leased and concurrency == 8
    assert bool(exceeded_limits(checked, has_host_store)) == exceeds


def test_report_says_what_is_left_of_a_quota(monkeypatch):
    monkeypatch.setenv("WEB_CONCURRENCY", "2")
    made = _settings(8)
    made["MODELS"]["narrow"]["deployments"][0] |= {"requests_per_minute": 60}
    dispatcher = Dispatcher(config.check(made), {"fake": FakeProvider()})
    quotas = {row["model"]: row["quota"] for row in dispatcher.report()}
    assert quotas["narrow"] == {"is_leased": False, "requests_left": 30, "tokens_left": None}
    assert {quota for model, quota in quotas.items() if model != "narrow"} == {None}
    assert not any(row["concurrency_is_leased"] for row in dispatcher.report())
