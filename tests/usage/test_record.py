"""An exchange becomes a row of the ledger, without invalid text of a client."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from app.database.columns import COLUMNS
from app.domain import FROM_CACHE, Flow
from app.errors import BadRequest, Overloaded
from app.usage.record import Recorder, row_of
from tests.usage.conftest import MODELS, exchange


def row(ended, status=200):
    values = Recorder(MODELS).row(ended, status, "writer", 7)
    assert len(values) == len(COLUMNS)
    return dict(zip(COLUMNS, values, strict=True))


def test_row_holds_caller_model_provider_amounts_and_result():
    found = row(exchange(user="u-1"))
    assert abs(found.pop("time") - time.time() * 1000) < 5000
    assert found == {
        "writer": "writer",
        "number": 7,
        "request_id": "mine",
        "key": "team",
        "user": "u-1",
        "model": "m",
        "provider": "p",
        "deployment": "upstream-m",
        "items": 2,
        "prompt_tokens": 6,
        "billed_tokens": 3,
        "cached_tokens": 3,
        "cost": 3 * 2000,  # billionths: 3 tokens at 2 dollars a million
        "ms": 12,
        "status": 200,
        "error_code": "",
        "space": "auto-0123456789abcdef",
        "service_tier": "default",
    }


P, Q, FREE = ("p", "upstream-m"), ("q", "other-m"), ("free", "upstream-m")


@pytest.mark.parametrize(
    ("sources", "purchases", "deployment", "cost"),
    [
        ([Q], {Q: 3}, "other-m", 60),  # the other three are from the cache
        ([FREE], {FREE: 3}, "upstream-m", 0),
        ([Q, P], {Q: 3, P: 3}, "other-m,upstream-m", 60 + 6000),
        ([P, FREE], {P: 3, FREE: 3}, "upstream-m", 6000),
        ([FROM_CACHE, Q], {Q: 3}, "other-m", 60),
        ([P], {}, "upstream-m", 0),  # another request had it embedded
        ([], {}, "", 0),
        ([("p", "renamed")], {("p", "renamed"): 3}, "renamed", 0),
    ],
)
def test_a_row_costs_the_tokens_bought_at_the_price_of_their_deployment(
    sources, purchases, deployment, cost
):
    ended = exchange()
    ended.outcome = replace(ended.outcome, sources=sources, purchases=purchases)
    found = row(ended)
    assert (found["deployment"], found["cost"]) == (deployment, cost)
    assert found["billed_tokens"] == sum(purchases.values())


def test_failed_request_costs_its_purchases():
    ended = exchange(error=Overloaded("too many"))
    ended.error.purchases = {P: 2, Q: 1}
    found = row(ended, 503)
    assert (found["provider"], found["deployment"]) == ("p,q", "upstream-m,other-m")
    assert (found["prompt_tokens"], found["billed_tokens"], found["cost"]) == (0, 3, 4020)


def test_failed_request_has_no_cost_and_an_error_code():
    found = row(exchange(error=Overloaded("too many")), 503)
    assert (found["status"], found["error_code"]) == (503, "overloaded")
    assert found["items"] == 2
    assert not any(found[n] for n in ("prompt_tokens", "billed_tokens", "cost", "provider"))


def test_error_without_code_has_its_type():
    assert row(exchange(error=BadRequest("bad")), 400)["error_code"] == "invalid_request_error"


def test_row_without_caller_and_with_unknown_model():
    ended = exchange(caller=None, model="x" * 10_000, error=BadRequest("bad"))
    assert (row(ended, 404)["key"], row(ended, 404)["model"]) == ("", "")
    ended.request = None
    found = row(ended, 401)
    assert (found["user"], found["model"], found["items"]) == ("", "", 0)
    assert found["service_tier"] == ""


def test_row_has_the_service_tier_of_the_request():
    assert row(exchange(flow=Flow("team", tier="flex")))["service_tier"] == "flex"


def test_row_of_before_spaces_and_tiers_is_read():
    values = Recorder(MODELS).row(exchange(), 200, "writer", 7)
    assert row_of(values) == values
    assert row_of(values[:-2]) == [*values[:-2], "", "default"]
    assert row_of(values[:-1]) == [*values[:-1], "default"]
    assert row_of(values[:-3]) is None


@given(st.text(st.characters(), max_size=256))
def test_user_has_no_characters_that_a_database_refuses(user):
    found = row(exchange(user=user))["user"]
    assert "\0" not in found
    found.encode()  # raises for a lone surrogate
    assert len(found) == len(user)


def test_name_with_a_lone_surrogate_can_be_written():
    assert row(exchange(caller="oidc:\ud800"))["key"] == "oidc:\ufffd"
